"""Every view shows its data, stays where it is, and can be read by everybody."""

import re

import pytest
from conftest import CAMERAS, DESKTOP, TABLET, Server, barely_moved, violations
from playwright.sync_api import expect


def line(page, is_live):
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(len(CAMERAS))
    for tile in tiles.all():
        expect(tile.locator(".verdict .text")).to_have_text(re.compile("pass|REJECT"))
        expect(tile.locator("output")).to_have_text(re.compile(r"0\.\d{3}"))
        expect(tile.locator("[data-figure=judged]")).to_have_text(re.compile(r"[1-9]"))
        expect(tile.locator(".newest")).to_be_visible()
        expect(tile.locator("[data-figure=latency]")).to_have_text(re.compile(r"\d ms"))
    expect(page.locator("[data-total=judged]")).to_have_text(re.compile("[1-9]"))


def rates(page, is_live):
    rejected = page.locator(".chart", has_text="Rejected")
    expect(rejected.locator("output")).to_have_text(re.compile(r"\d %"))
    expect(rejected.locator(".dot, .hollow, .corrected").first).to_be_visible()
    if not is_live:
        # Several windows have ended, and labels came later.
        page.locator("#rates-window").select_option("2s")
        expect(rejected.locator("polyline").first).to_be_visible()
        expect(page.locator("#rates-corrections tbody tr")).not_to_have_count(0)
    expect(page.locator("#rates-table tbody tr")).not_to_have_count(0)
    expect(page.locator("#rates-stages tbody tr")).not_to_have_count(0)


def review(page, is_live):
    expect(page.locator("#review [role=option]")).not_to_have_count(0)
    # What is borderline may have no region.
    page.locator("#review [name=which]").select_option("rejected")
    expect(page.locator("#review .picture .plain")).to_be_visible()
    expect(page.locator("#review .outlines rect")).not_to_have_count(0)
    expect(page.locator("#review .decision")).to_have_text(re.compile(r"REJECT at 0\.\d{3}"))


def whatif(page, is_live):
    expect(page.locator("#whatif .histogram rect")).not_to_have_count(0)
    expect(page.locator("#whatif tbody td").first).to_have_text(re.compile(r"\d of \d"))
    slider, line = page.locator("#whatif input[type=range]"), page.locator("#whatif .threshold-then")
    for step in (1, 128, 255):
        slider.evaluate("(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step)
        at = slider.bounding_box()
        thumb = at["x"] + THUMB_PX / 2 + (step - 1) / 254 * (at["width"] - THUMB_PX)
        assert abs(line.bounding_box()["x"] - thumb) < 2, "the thumb is below the line"
    slider.evaluate("(slider) => { slider.value = 128; slider.dispatchEvent(new Event('input')); }")


def compare(page, is_live):
    if is_live:
        expect(page.locator("#compare .how")).to_contain_text("--compare")
        return
    expect(page.locator("#compare caption")).to_have_text(
        re.compile(r"^monday and laxer: [1-9]\d* of \d+ decisions flip")
    )
    expect(page.locator("#compare [role=option]")).not_to_have_count(0)
    # The frame is seen on both sides, also where it passed.
    expect(page.locator("#compare .side .plain:visible")).to_have_count(2)


# How much further the page can be scrolled than it has something.
BELOW = "document.documentElement.scrollHeight - Math.max(innerHeight, document.body.getBoundingClientRect().bottom + scrollY)"
# Of a slider in Chromium.
THUMB_PX = 16

VIEWS = [line, rates, review, whatif, compare]


SIZES = {"desktop": DESKTOP, "tablet": TABLET}
LOOKS = [
    ("ended", "desktop", "light"),
    ("ended", "tablet", "dark"),
    ("demo", "desktop", "light"),
    ("demo", "desktop", "dark"),
    ("demo", "tablet", "light"),
    ("demo", "tablet", "dark"),
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
@pytest.mark.parametrize(("run", "size", "scheme"), LOOKS)
def test_a_view_shows_its_data_and_can_be_read_by_everybody(run, size, scheme, view, request, visit, pytestconfig):
    server = request.getfixturevalue(run)
    page = visit(server.url, view.__name__, scheme, SIZES[size])
    view(page, is_live=run == "demo")
    page.wait_for_timeout(600)

    where = request.node.callspec.id
    shots = pytestconfig.getoption("shots")
    page.screenshot(path=shots / f"{where}.png", full_page=True)
    print(f"{where}: layout shift {barely_moved(page):.4f}")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size]["width"], f"it is {width} px wide"
    assert page.evaluate(BELOW) <= 1, "there is nothing below what is seen"
    assert not violations(page)


@pytest.fixture(scope="module")
def unkept(program, fitted, tmp_path_factory):
    """A run of which nothing is kept."""
    place = tmp_path_factory.mktemp("unkept")
    (place / "line.toml").write_text(
        f'[[camera]]\nname = "dock"\nsource = "http"\ndetector = "{fitted}/fabric.intakt"\n'
    )
    server = Server(program, "inspect", place / "line.toml", said=place / "said")
    yield server
    server.end()


@pytest.mark.parametrize("view", ["rates", "review", "whatif"])
def test_a_run_that_is_not_kept_says_how_it_would_be(view, unkept, visit):
    page = visit(unkept.url, view)
    how = page.locator("[data-view=unkept]")
    expect(how).to_contain_text("--run runs/monday")
    expect(page.locator(f"#{view}")).to_be_hidden()
    # Nothing is asked for that would be refused: the console says what is.
    page.wait_for_timeout(600)
    assert not violations(page)
    page.keyboard.press("1")
    expect(how).to_be_hidden()
    page.locator(".tile h2 a").click()
    expect(how).to_be_visible()
