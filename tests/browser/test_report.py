"""A report is read on a screen and on paper, by everybody, and asks nobody for anything."""

import re
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import DESKTOP
from playwright.sync_api import expect
from test_views import WCAG

# What fits between the margins of A4 at 96 px an inch.
PAPER = {"width": 700, "height": 1000}


@pytest.fixture(scope="module")
def report(program, ended, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    subprocess.run([program, "report", ended.place / "monday", "-o", out], check=True, capture_output=True)
    return out


@pytest.mark.parametrize(("media", "size"), [("screen", DESKTOP), ("print", PAPER)])
def test_a_report_is_read_by_everybody(report, browser, media, size, pytestconfig):
    page = browser.new_page(viewport=size)
    asked, troubles = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.emulate_media(media=media)
    page.goto(report.as_uri())
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("figure svg").first).to_be_visible()
    expect(page.locator("table").first).to_be_visible()
    pictures = page.locator("img")
    expect(pictures).not_to_have_count(0)
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.screenshot(path=pytestconfig.getoption("shots") / f"report-{media}.png", full_page=True)
    # Nothing runs in it, so that what checks it is all that does.
    found = Axe().run(page, options=WCAG).response["violations"]
    said = [f"{of['impact']} {of['id']}: {[node['html'] for node in of['nodes']]}" for of in found]
    assert not said and not troubles
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    page.close()


def test_a_printed_report_breaks_no_picture_and_wastes_no_page(report, browser, pytestconfig):
    page = browser.new_page()
    page.goto(report.as_uri())
    printed = page.pdf(path=pytestconfig.getoption("shots") / "report.pdf", format="A4", prefer_css_page_size=True)
    n_pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 2 <= n_pages <= 12, n_pages
    unbroken = "getComputedStyle(of).breakInside.startsWith('avoid')"
    page.emulate_media(media="print")
    assert page.evaluate(f"[...document.querySelectorAll('figure, tr')].every((of) => {unbroken})")
    page.close()
