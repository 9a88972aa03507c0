"""Sixteen cameras on one page, and what a memory bank and suppression rules leave to be seen of a frame."""

import re
import shutil
import subprocess

import pytest
from conftest import DESKTOP, Server
from playwright.sync_api import expect

N_CAMERAS = 16

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
    """A line of sixteen cameras, each of which was posted what it knows, and posts it again."""
    place = tmp_path_factory.mktemp("sixteen")
    scenes = {f"camera-{at:02}": ["fabric", "metal", "labels"][at % 3] for at in range(N_CAMERAS)}
    (place / "line.toml").write_text(
        "".join(
            f'[[camera]]\nname = "{name}"\nsource = "http"\ndetector = "{fitted}/{scene}.intakt"\n'
            for name, scene in scenes.items()
        )
    )
    server = Server(program, "inspect", place / "line.toml", "--run", place / "run", said=place / "said")

    def post_all(nth):
        for name, scene in scenes.items():
            server.ask(f"/api/v1/cameras/{name}/frames", (fitted / f"normal/{scene}/{nth:04}.png").read_bytes())

    server.post_all = post_all
    post_all(0)
    yield server
    server.end()


def test_sixteen_cameras_are_seen_as_they_are(sixteen, visit, pytestconfig):
    page = visit(sixteen.url, size=DESKTOP)
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(N_CAMERAS)
    for tile in tiles.all():
        expect(tile.locator(".newest")).to_be_visible()
        expect(tile.locator(".frame")).to_have_text("frame 0")
        expect(tile.locator("output")).to_have_text(re.compile(r"0\.\d{3}"))
    last = tiles.last.bounding_box()
    assert last["y"] + last["height"] <= DESKTOP["height"], "all of them are seen at once"
    assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
    sixteen.post_all(1)
    for tile in tiles.all():
        expect(tile.locator(".frame")).to_have_text("frame 1")
        expect(tile.locator("[data-figure=judged]")).to_have_text("2")
    expect(page.locator("[data-total=judged]")).to_have_text(str(2 * N_CAMERAS))
    page.screenshot(path=pytestconfig.getoption("shots") / "sixteen.png", full_page=True)


def test_a_reject_is_said_for_as_long_as_it_takes_to_see_it(demo, visit):
    page = visit(demo.url, size=DESKTOP)
    expect(page.locator(".tile")).not_to_have_count(0)
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
