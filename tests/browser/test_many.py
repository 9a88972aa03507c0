"""Sixteen cameras on one page, and what a memory bank and suppression rules leave to be seen of a frame."""

import re
import shutil
import subprocess

import pytest
from conftest import DESKTOP, Server
from playwright.sync_api import expect

N_CAMERAS = 16
# From when something is said to when it is on the page.
SAID_MS_MAX = 500

# Whether the next tile that begins to say that something was rejected says so for three seconds.
HELD = """
async () => {
  const tile = await new Promise((found) => {
    new MutationObserver((changes) => {
      const begun = changes.find(({ target, oldValue }) => target.classList.contains("has-rejected") && !/has-rejected/.test(oldValue));
      if (begun) found(begun.target);
    }).observe(document.querySelector("#cameras"), { subtree: true, attributeFilter: ["class"], attributeOldValue: true });
  });
  for (let at = 0; at < 30; at += 1) {
    if (!tile.classList.contains("has-rejected")) return false;
    await new Promise((later) => setTimeout(later, 100));
  }
  return true;
}
"""


@pytest.fixture(scope="module")
def sixteen(program, fitted, tmp_path_factory):
    """A line of sixteen cameras, more than this machine may keep up with: what it has no time for is dropped."""
    place = tmp_path_factory.mktemp("sixteen")
    scenes = ["fabric", "metal", "labels"]
    (place / "line.toml").write_text(
        "".join(
            f'[[camera]]\nname = "camera-{at:02}"\nsource = "synthetic"\nscene = "{scenes[at % 3]}"\nseed = {at}\n'
            f'paced = true\noverflow = "drop-oldest"\ndetector = "{fitted}/{scenes[at % 3]}.intakt"\n'
            for at in range(N_CAMERAS)
        )
    )
    server = Server(program, "inspect", place / "line.toml", "--run", place / "run", said=place / "said")
    yield server
    server.end()


def test_sixteen_cameras_are_seen_as_they_are(sixteen, visit, pytestconfig):
    page = visit(sixteen.url, size=DESKTOP)
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(N_CAMERAS)
    for tile in tiles.all():
        expect(tile.locator(".newest")).to_be_visible()
        expect(tile.locator(".verdict .text")).to_have_text(re.compile("pass|REJECT"))
        expect(tile.locator("output")).to_have_text(re.compile(r"0\.\d{3}"))
    assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
    judged = page.locator("[data-total=judged]")
    before = int(judged.inner_text().replace(",", ""))
    expect(judged).not_to_have_text(f"{before:,}")
    page.screenshot(path=pytestconfig.getoption("shots") / "sixteen.png", full_page=True)
    # What is said of sixteen cameras is heard as soon as it is said.
    late_ms = page.evaluate(
        """async () => {
          const late = [];
          const events = new EventSource("/api/v1/events");
          await new Promise((done) => events.addEventListener("line", (event) => {
            late.push(Date.now() - JSON.parse(event.data).said_at_us / 1000);
            if (late.length === 8) done();
          }));
          events.close();
          return late;
        }"""
    )
    print(f"from saying to hearing: {sorted(round(late) for late in late_ms)} ms")
    assert sorted(late_ms)[len(late_ms) // 2] < SAID_MS_MAX


def test_a_reject_is_said_for_as_long_as_it_takes_to_see_it(sixteen, visit):
    page = visit(sixteen.url, size=DESKTOP)
    expect(page.locator(".tile")).to_have_count(N_CAMERAS)
    assert page.evaluate(HELD)


@pytest.fixture(scope="module")
def bank(program, fitted, tmp_path_factory):
    """A run that has ended, of a memory bank that knows where its patches are from and leaves small regions out."""
    place = tmp_path_factory.mktemp("bank")
    (place / "normal").mkdir()
    for image in sorted((fitted / "normal/metal").glob("*.png"))[:40]:
        shutil.copy(image, place / "normal")
    (place / "line.toml").write_text(
        '[[camera]]\nname = "metal"\nsource = "synthetic"\nscene = "metal"\nframes = 16\ndetector = "bank.intakt"\n'
    )
    for arguments in (
        ["fit", "normal", "-o", "bank.intakt", "--detector", "patchcore", "--min-area", "300"],
        ["inspect", "line.toml", "--run", "run"],
    ):
        ran = subprocess.run([program, *arguments], check=False, cwd=place, capture_output=True, text=True)
        assert ran.returncode in (0, 1), ran.stderr
    server = Server(program, "serve", place / "run", said=place / "said")
    yield server
    server.end()


def test_the_nearest_normal_patches_are_seen_beside_what_was_rejected(bank, visit, pytestconfig):
    page = visit(bank.url, "review")
    expect(page.locator("#review .decision")).to_have_text(re.compile("REJECT"))
    patches = page.locator("#review .nearest li")
    expect(patches).not_to_have_count(0)
    expect(patches.locator("img").first).to_be_visible()
    assert page.evaluate("document.querySelector('#review .nearest img').naturalWidth") > 0
    first = patches.first
    expect(first).to_contain_text(re.compile(r"region 1.*\d{4}\.png.*at \d+, \d+ px.*distance \d", re.DOTALL))
    # The same number marks the patch in the frame and in the training image.
    expect(first.locator("svg text")).to_have_text("1")
    expect(page.locator("#review .outlines text").first).to_have_text("1")
    page.screenshot(path=pytestconfig.getoption("shots") / "nearest.png")


def test_a_region_that_does_not_count_says_why(bank, visit):
    page = visit(bank.url, "review")
    page.locator("#review [name=which]").select_option("all")
    frames = bank.ask("/api/v1/verdicts?limit=16")["verdicts"]
    seq, n_suppressed = next((frame["seq"], len(frame["suppressed"])) for frame in frames if frame["suppressed"])
    page.locator(f"#frame-metal-{seq}").click()
    left_out = page.locator("#review .regions .suppressed")
    expect(left_out).to_have_count(n_suppressed)
    expect(left_out.first).to_have_text(re.compile(r"does not count \(below min area\): \d+ px², peak 0\.\d{3}"))
