"""Sixteen cameras on one page, and what a memory bank and suppression rules leave to be seen of a frame."""

import asyncio
import math
import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
from conftest import DESKTOP, Server, barely_moved, violations
from playwright.sync_api import expect

sys.path.append(str(Path(__file__).parents[2] / "benches"))
import viewers

N_CAMERAS = 16
FRAMES_A_SECOND = 15
LOOKED_S = 10
LOOKS_MAX = 6

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
    barely_moved(page)
    assert not violations(page)


def gray_png(width, height):
    """A PNG file of noise."""
    rows = b"".join(b"\0" + random.Random(row).randbytes(width) for row in range(height))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ]
    framed = (struct.pack(">I", len(of)) + name + of + struct.pack(">I", zlib.crc32(name + of)) for name, of in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.fixture(scope="module")
def large(program, fitted, tmp_path_factory):
    """A run with frames that are much larger than their pictures, and one that is not."""
    place = tmp_path_factory.mktemp("large")
    (place / "line.toml").write_text(
        f'[[camera]]\nname = "dock"\nsource = "http"\ndetector = "{fitted}/fabric.intakt"\n'
    )
    server = Server(program, "inspect", place / "line.toml", "--run", place / "run", said=place / "said")
    for width, height in [(640, 480), (4096, 256), (3000, 2000)]:
        assert server.ask("/api/v1/cameras/dock/frames", gray_png(width, height))["decision"] == "reject"
    yield server
    server.end()


def test_who_comes_later_sees_the_newest_frame(large, visit):
    # They came within a second, when nobody looked.
    page = visit(large.url)
    expect(page.locator(".shown")).to_contain_text("✕ frame 2")


def test_a_large_frame_is_seen_pixel_by_pixel_where_something_was_found(large, visit, pytestconfig):
    page = visit(large.url, "review", size=DESKTOP)
    toggle, closer = page.locator("#review .closer-toggle"), page.locator("#review .picture .closer")
    outlines = page.locator("#review .outlines")
    view_box = lambda x, y, width, height: expect(outlines).to_have_attribute("viewBox", f"{x} {y} {width} {height}")
    for seq, whole, part in [(2, [3000, 2000], [512, 512]), (1, [4096, 256], [512, 256])]:
        page.locator(f"#frame-dock-{seq}").click()
        expect(toggle).to_be_enabled()
        told = large.ask(f"/api/v1/cameras/dock/frames/{seq}")
        at = told["closer_px"]
        assert [told["width_px"], told["height_px"]] == whole and [at["width"], at["height"]] == part
        if seq == 2:
            expect(closer).to_be_hidden()
            view_box(0, 0, *whole)
            page.keyboard.press("z")
        # It stays so for the frames that follow.
        expect(closer).to_be_visible()
        expect(toggle).to_have_attribute("aria-pressed", "true")
        view_box(at["x"], at["y"], *part)
        assert closer.evaluate("image => [image.naturalWidth, image.naturalHeight]") == part
        expect(page.locator("#review .picture .plain")).not_to_be_visible()
    page.screenshot(path=pytestconfig.getoption("shots") / "closer.png")
    assert not violations(page)
    page.locator("#frame-dock-0").click()
    expect(page.locator("#review .picture .plain")).to_be_visible()
    view_box(0, 0, 640, 480)
    expect(closer).to_be_hidden()
    expect(toggle).to_be_disabled()


def test_what_was_rejected_stays_in_the_corner_until_something_else_is(sixteen, fitted, visit):
    path = "/api/v1/cameras/camera-00/frames"
    post = lambda scene, nth: sixteen.ask(path, (fitted / f"normal/{scene}/{nth:04}.png").read_bytes())
    page = visit(sixteen.url, size=DESKTOP)
    tile = page.locator(".tile[data-camera=camera-00]")
    shown, held = tile.locator(".shown"), tile.locator(".held")
    expect(shown).to_contain_text("✓ frame")
    rejected = post("metal", 0)
    assert rejected["decision"] == "reject"
    expect(shown).to_have_text(f"✕ frame {rejected['seq']}")
    expect(held).to_be_hidden()
    # At once: each waits for its turn to be drawn, and the last one stays.
    rejected = post("metal", 1)
    passed = post("fabric", 2)
    assert passed["decision"] == "pass"

    def both_are_seen():
        expect(shown).to_contain_text(f"✓ frame {passed['seq']}")
        expect(held.locator("figcaption")).to_contain_text(f"✕ {rejected['seq']}, ")
        for image in (tile.locator(".newest"), held.locator("img")):
            expect(image).to_be_visible()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 256

    both_are_seen()
    page.keyboard.press("3")
    page.keyboard.press("1")
    both_are_seen()
    page.reload()
    both_are_seen()
    # One that is not the newest any more says how old it is.
    expect(shown).to_have_text(re.compile(r"✓ frame \d+, \d+ s ago"), timeout=10_000)


def test_a_reject_is_said_for_as_long_as_it_takes_to_see_it(demo, visit):
    page = visit(demo.url, size=DESKTOP)
    expect(page.locator(".tile")).not_to_have_count(0)
    assert page.evaluate(HELD)
    barely_moved(page)


# How often the page said something new within some seconds, how long the longest task of its thread took, how many pictures it showed,
# and how many requests that took.
WATCHED = """
async (seconds) => {
  let said = 0;
  let pictures = 0;
  const tasks = [0];
  const changes = new MutationObserver(() => (said += 1));
  changes.observe(document.querySelector("[data-total=judged]"), { childList: true, characterData: true, subtree: true });
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  const shown = new MutationObserver((changed) => (pictures += changed.length));
  for (const image of document.querySelectorAll(".tile .newest")) shown.observe(image, { attributeFilter: ["src"] });
  performance.clearResourceTimings();
  await new Promise((later) => setTimeout(later, 1000 * seconds));
  const asked = performance.getEntriesByType("resource").filter(({ name }) => !name.startsWith("data:"));
  return { said, longest_ms: Math.max(...tasks), pictures, asked: asked.length };
}
"""


@pytest.fixture(scope="module")
def fast(program, fitted, tmp_path_factory):
    """A line of sixteen network cameras that send fifteen frames a second each, and how long verdicts take."""
    place = tmp_path_factory.mktemp("fast")
    normal = fitted / "normal/metal"
    size = str(viewers.SIZE_PX)
    subprocess.run([program, "fit", normal, "--size", size, "-o", place / "metal.intakt"], check=True, capture_output=True)
    line = viewers.Line(N_CAMERAS, FRAMES_A_SECOND, viewers.shown(fitted))
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    port = asyncio.run_coroutine_threadsafe(line.open(), loop).result()
    (place / "line.toml").write_text(
        'detector = "metal.intakt"\n'
        + "".join(f'[[camera]]\nname = "{name}"\nsource = "mjpeg"\nurl = "http://127.0.0.1:{port}/{name}"\n' for name in line.names)
    )
    os.mkfifo(place / "verdicts")
    # Held, because the loop alone would not keep it alive.
    hearing = asyncio.run_coroutine_threadsafe(line.hear(place / "verdicts"), loop)
    told = ["--at-once", place / "verdicts", "--jsonl", place / "log"]
    server = Server(program, "inspect", place / "line.toml", "--run", place / "run", *told, said=place / "said")

    def took_ms():
        # On a machine that stands still there may be none.
        taken, line.took_ms = sorted(line.took_ms) or [math.inf], []
        return statistics.median(taken), taken[int(0.99 * len(taken))]

    server.took_ms = took_ms
    server.hearing = hearing
    yield server
    server.end()
    loop.call_soon_threadsafe(loop.stop)


def test_sixteen_cameras_at_fifteen_frames_a_second_slow_neither_the_page_nor_the_line(fast, visit, pytestconfig):
    def counted():
        cameras = fast.ask("/api/v1/cameras")["cameras"]
        return [sum(camera[of] for camera in cameras) for of in ("judged", "dropped")]

    fast.until(lambda: counted()[0] > N_CAMERAS * FRAMES_A_SECOND)
    fast.took_ms()
    time.sleep(LOOKED_S)
    alone_ms = fast.took_ms()
    page = visit(fast.url, size=DESKTOP)
    expect(page.locator(".tile .newest")).to_have_count(N_CAMERAS)
    # A page that slows the line down does so each time; a machine that others use stands still once in a while.
    for _ in range(LOOKS_MAX):
        fast.took_ms()
        before = counted()
        watched = page.evaluate(WATCHED, LOOKED_S)
        judged, dropped = (now - then for now, then in zip(counted(), before, strict=True))
        looked_at_ms = fast.took_ms()
        print(f"median and 99 %: {alone_ms} ms alone, {looked_at_ms} ms with the page; {judged} judged, {dropped} dropped; {watched}")
        # The page shares two cores with the line here.
        keeps_up = judged > 0.95 * N_CAMERAS * FRAMES_A_SECOND * LOOKED_S and dropped < 0.01 * judged
        is_slow = looked_at_ms[0] > max(10, 3 * alone_ms[0]) or looked_at_ms[1] > 1_000
        if keeps_up and not is_slow:
            break
    assert keeps_up and not is_slow
    # It is told four times a second, and about one picture a second of each camera is drawn.
    assert watched["said"] >= 3 * LOOKED_S and watched["longest_ms"] < 250
    assert N_CAMERAS * LOOKED_S / 2 < watched["pictures"] <= 1.2 * N_CAMERAS * (LOOKED_S + 1)
    assert watched["asked"] == 0
    page.screenshot(path=pytestconfig.getoption("shots") / "sixteen-fast.png", full_page=True)


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
    assert not violations(page)


def test_a_region_that_does_not_count_says_why(bank, visit):
    page = visit(bank.url, "review")
    page.locator("#review [name=which]").select_option("all")
    frames = bank.ask("/api/v1/verdicts?limit=16")["verdicts"]
    seq, n_suppressed = next((frame["seq"], len(frame["suppressed"])) for frame in frames if frame["suppressed"])
    page.locator(f"#frame-metal-{seq}").click()
    left_out = page.locator("#review .regions .suppressed")
    expect(left_out).to_have_count(n_suppressed)
    expect(left_out.first).to_have_text(re.compile(r"does not count \(below min area\): \d+ px², peak 0\.\d{3}"))
