"""A report is read on a screen and on paper, by everybody, and asks nobody for anything."""

import subprocess

import pypdfium2
import pytest
from conftest import DESKTOP, violations
from playwright.sync_api import expect

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
    assert not violations(page) and not troubles
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    page.close()


def test_a_printed_report_breaks_no_picture_and_wastes_no_page(report, browser, pytestconfig):
    page = browser.new_page()
    page.goto(report.as_uri())
    shots = pytestconfig.getoption("shots")
    page.pdf(path=shots / "report.pdf", format="A4", prefer_css_page_size=True)
    page.emulate_media(media="print")
    unbroken = "getComputedStyle(of).breakInside.startsWith('avoid')"
    assert page.evaluate(f"[...document.querySelectorAll('figure, tr')].every((of) => {unbroken})")
    page.close()
    printed = pypdfium2.PdfDocument(shots / "report.pdf")
    assert len(printed) >= 2
    for at, sheet in enumerate(printed):
        seen = sheet.render(scale=1).to_pil()
        seen.save(shots / f"report-page-{at + 1}.png")
        picture = seen.convert("L")
        left, top, right, bottom = picture.point(lambda shade: 255 * (shade < 200)).getbbox()
        # Between the margins, and, but for the last one, down to where the next figure did not fit.
        width, height = picture.size
        assert left > 20 and right < width - 20 and top > 10 and bottom < height - 10, (at, left, top, right, bottom)
        body = picture.crop((0, int(0.07 * height), width, int(0.93 * height)))
        reaches = body.point(lambda shade: 255 * (shade < 200)).getbbox()[3] / body.height
        assert reaches > 0.5 or at + 1 == len(printed), f"page {at + 1} ends at {reaches:.0%}"


def test_the_program_prints_what_the_page_says(program, ended, tmp_path):
    html, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    subprocess.run([program, "report", ended.place / "monday", "-o", html, "--pdf", pdf], check=True, capture_output=True)
    printed = pypdfium2.PdfDocument(pdf)
    said = [sheet.get_textpage().get_text_range() for sheet in printed]
    assert "monday" in said[0] and "How long each stage took" in "".join(said)
    width, height = printed[0].get_size()
    assert (round(width), round(height)) == (595, 842), "A4"
