"""What the page shows is what the run's own verdicts and figures come to."""

import json
import re
import subprocess
import urllib.request

import pytest
from conftest import CAMERAS, TABLET, Server
from playwright.sync_api import expect

BUCKETS = 256


def count(number):
    return f"{number:,.0f}"


def percent(share):
    return f"{100 * share:.1f} %"


def score(number):
    return f"{number:.3f}"


def share(part, whole):
    return f"{count(part)} of {count(whole)} ({percent(part / whole)})" if whole else "no labels"


def verdicts(server, **filters):
    found, cursor = [], None
    while True:
        asked = {**filters, "limit": 500, **({"cursor": cursor} if cursor else {})}
        page = server.ask(f"/api/v1/verdicts?{'&'.join(f'{name}={value}' for name, value in asked.items())}")
        found += page["verdicts"]
        if not (cursor := page["next"]):
            return found


def told(server):
    """What the page is told of the line."""
    with urllib.request.urlopen(f"{server.url}/api/v1/events", timeout=30) as events:
        for line in events:
            if line.startswith(b"data: {"):
                return json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("step", [60, 128, 235])
def test_what_another_threshold_would_do_is_what_the_verdicts_come_to(ended, visit, camera, step):
    page = visit(ended.url, "whatif")
    page.locator("#whatif [name=camera]").select_option(camera)
    # Its own threshold, in the detector's unit.
    expect(page.locator("#whatif [name=own]")).not_to_have_value("")
    slider = page.locator("#whatif input[type=range]")
    slider.evaluate("(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step)
    all_frames = verdicts(ended, camera=camera)
    normal = [frame for frame in all_frames if frame["truth"] == "normal"]
    anomalous = [frame for frame in all_frames if (frame["truth"] or "").startswith("anomalous")]

    def rows(at):
        def above(frames):
            return sum(frame["calibrated_score"] > at for frame in frames)

        return [
            share(above(all_frames), len(all_frames)),
            share(above(normal), len(normal)),
            share(len(anomalous) - above(anomalous), len(anomalous)),
        ]

    assert anomalous and rows(step / BUCKETS) != rows(0) or step < 128
    cells = page.locator("#whatif tbody tr")
    for at, (now, then) in enumerate(zip(rows(0.5), rows(step / BUCKETS), strict=True)):
        expect(cells.nth(at).locator("td")).to_have_text([now, then])


CHARTS = {
    "Rejected": {"reject_rate": percent},
    "Precision and recall": {"precision": percent, "recall": percent},
    "Escapes and false rejects": {"escape_rate": percent, "false_reject_rate": percent},
    "AUROC": {"auroc": score},
    "Scores (threshold 0.5)": {"score_p50": score, "score_p95": score, "score_p99": score},
    "Drift from calibration": {"drift": score},
    "Frames and rejects": {"frames": count, "rejects": count},
    "Dropped and unreadable": {"dropped": count, "unreadable": count},
}


def test_each_chart_shows_its_figures_and_what_is_open_is_hollow(ended, visit):
    page = visit(ended.url, "rates")
    expect(page.locator("#rates-scope option")).not_to_have_count(0)
    page.locator("#rates-scope").select_option("camera/fabric")
    for window, is_open in [("10s", False), ("1m", True)]:
        page.locator("#rates-window").select_option(window)
        newest = ended.ask(f"/api/v1/rates?scope=camera/fabric&window={window}")["windows"][0]
        assert newest["closed"] != is_open
        for title, names in CHARTS.items():
            chart = page.locator(".chart", has=page.get_by_text(title, exact=True))
            written = [write(newest["figures"][name]["value"]) + ", open" * is_open for name, write in names.items() if name in newest["figures"]]
            if not written:
                assert window == "10s"
                expect(chart.locator(".nothing-yet")).to_be_visible()
                continue
            expect(chart.locator("output" if len(names) == 1 else ".key output")).to_have_text(written)
            marks = chart.locator(".hollow" if is_open else ".dot:not(.key *), .corrected").and_(chart.locator("svg[role=img] *"))
            expect(marks).to_have_count(len(names))
            expect(chart.locator("svg[role=img]").locator(".dot, .corrected" if is_open else ".hollow")).to_have_count(0)


def test_a_chart_says_the_newest_figure_that_is_closed(ended, visit):
    page = visit(ended.url, "rates")

    def reopen(route):
        answer = route.fetch()
        rates = answer.json()
        if rates["windows"]:
            rates["windows"][0]["closed"] = False
        route.fulfill(response=answer, json=rates)

    page.route("**/api/v1/rates?*window=2s*", reopen)
    expect(page.locator("#rates-scope option")).not_to_have_count(0)
    page.locator("#rates-scope").select_option("camera/fabric")
    page.locator("#rates-window").select_option("2s")
    windows = ended.ask("/api/v1/rates?scope=camera/fabric&window=2s")["windows"]
    open_, closed = (percent(window["figures"]["reject_rate"]["value"]) for window in windows[:2])
    assert open_ != closed
    chart = page.locator(".chart", has=page.get_by_text("Rejected", exact=True))
    expect(chart.locator(".hollow")).to_have_count(1)
    expect(chart.locator("output")).to_have_text(closed)


def test_a_chart_has_a_gap_where_no_frames_came(ended, visit):
    page = visit(ended.url, "rates")
    drawn = page.locator(".chart", has=page.get_by_text("Rejected", exact=True)).locator("polyline:not(.open)")
    windows = len([of for of in ended.ask("/api/v1/rates?scope=all&window=2s")["windows"] if of["closed"]])
    assert windows >= 3

    def choose():
        expect(page.locator("#rates-scope option")).not_to_have_count(0)
        page.locator("#rates-window").select_option("2s")
        expect(drawn).to_have_count(1)
        return drawn.get_attribute("points").split()

    whole = choose()
    assert len(whole) == windows

    def leave_out(route):
        answer = route.fetch()
        rates = answer.json()
        # The newest is the first: the second is that before it.
        del rates["windows"][1:2]
        route.fulfill(response=answer, json=rates)

    page.route("**/api/v1/rates?*window=2s*", leave_out)
    page.reload()
    assert choose() == whole[:-2]


def test_a_tile_shows_what_is_told_of_its_camera(ended, visit):
    page = visit(ended.url)
    for camera in told(ended)["cameras"]:
        tile = page.locator(f".tile[data-camera={camera['camera']}]")
        expect(tile.locator("[data-figure=rate]")).to_have_text(percent(camera["reject_rate"]))
        expect(tile.locator("[data-figure=judged]")).to_have_text(count(camera["judged"]))
        expect(tile.locator("output")).to_have_text(score(camera["last"]["score"]))
        left = tile.locator(".needle").evaluate("(needle) => parseFloat(needle.style.left)")
        assert left == pytest.approx(100 * camera["last"]["score"], abs=0.01)
        bars = [share for share in camera["rejects"] if share]
        assert bars
        heights = tile.locator(".spark rect").evaluate_all("(bars) => bars.map((bar) => Number(bar.getAttribute('height')))")
        assert heights == pytest.approx([max(2, bar / max(0.1, *bars) * 24) for bar in bars])
        most = max(share for share in camera["rejects"] if share is not None)
        expect(tile.locator(".spark")).to_have_attribute("aria-label", re.compile(re.escape(f"at most {percent(most)} ")))


def test_the_most_uncertain_frames_are_those_nearest_to_the_threshold(ended, visit):
    page = visit(ended.url, "review")
    which, listed = page.locator("#review [name=which]"), page.locator("#review [role=option] .score-of")
    scored = [frame for frame in verdicts(ended) if frame["calibrated_score"] is not None]
    for name, frames in [
        ("uncertain", scored),
        ("unlabelled", [frame for frame in scored if frame["truth"] is None]),
    ]:
        which.select_option(name)
        nearest = sorted(abs(frame["calibrated_score"] - 0.5) for frame in frames)[:60]
        expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
        shown = [abs(float(text) - 0.5) for text in listed.all_text_contents()]
        assert shown == pytest.approx(nearest, abs=0.001), name


def test_a_class_is_given_with_its_label_and_not_to_the_next_frame(ended, visit):
    page = visit(ended.url, "review")
    said = []
    page.on("request", lambda request: request.method == "POST" and said.append(request.post_data_json["truth"]))
    page.locator("#review [name=which]").select_option("unlabelled")
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    title, field = page.locator("#review h3"), page.locator("#review [name=class]")
    first = title.text_content()
    field.fill("burr")
    page.locator("#review .anomalous").click()
    expect(title).not_to_have_text(first)
    expect(field).to_have_value("")
    expect(page.locator("#review [role=option]").first.locator(".truth")).to_have_text("● burr")
    page.locator("#review .anomalous").click()
    expect(page.locator("#review .status")).to_contain_text("is anomalous.")
    assert said == ["anomalous:burr", "anomalous"]
    for _ in range(2):
        page.locator("#review .undo").click()
        expect(page.locator("#review .status")).to_contain_text("unlabelled again")
    expect(title).to_have_text(first)


@pytest.fixture
def flipped(program, fitted, ended, tmp_path):
    """The run that has ended beside its replay in which metal passes, and what is no metal is rejected."""
    other = ["--detector", fitted / "metal.intakt", "--threshold", "40", "--run", tmp_path / "other"]
    ran = subprocess.run([program, "replay", ended.place / "recording", *other], check=False, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    server = Server(program, "serve", ended.place / "monday", "--compare", tmp_path / "other", said=tmp_path / "said")
    yield server
    server.end()


def test_flips_are_chosen_by_their_decisions(flipped, visit):
    page = visit(flipped.url, "compare")
    change = page.locator("#compare [name=change]")
    kinds = change.locator("option:not([value=''])")
    expect(kinds).to_have_count(2)
    listed = page.locator("#compare [role=option]")
    for kind in kinds.all():
        value, (name, n) = kind.get_attribute("value"), kind.text_content().rsplit(": ", 1)
        change.select_option(value)
        expect(listed).to_have_count(min(50, int(n.replace(",", ""))))
        before, after = value.split(" ")
        flips = flipped.ask(f"/api/v1/compare/flips?before={before}&after={after}&limit=50")["flips"]
        assert all((flip["before"]["decision"], flip["after"]["decision"]) == (before, after) for flip in flips)
        expect(listed.locator(".heard")).to_have_text([f", {name}"] * len(flips))


def test_a_finger_is_enough(ended, browser):
    context = browser.new_context(viewport=TABLET, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(ended.url)
    page.get_by_role("link", name="Review").tap()
    title, options = page.locator("#review h3"), page.locator("#review [role=option]")
    expect(title).to_have_text(re.compile("frame"))
    options.nth(2).tap()
    expect(options.nth(2)).to_have_attribute("aria-selected", "true")
    chosen = title.text_content()
    was = page.locator("#review .frame .truth").text_content()
    page.locator("#review .normal").tap()
    expect(title).not_to_have_text(chosen)
    expect(options.nth(2).locator(".truth")).to_have_text("○ normal")
    page.locator("#review .undo").tap()
    expect(title).to_have_text(chosen)
    expect(page.locator("#review .frame .truth")).to_have_text(was)
    expect(page.locator("#review .heatmap")).to_be_visible()
    page.locator("#review .toggle").tap()
    expect(page.locator("#review .heatmap")).to_be_hidden()
    page.get_by_role("link", name="What if").tap()
    then = page.locator("#whatif tbody td").nth(1)
    expect(then).to_have_text(re.compile(r"\d of \d"))
    before = then.text_content()
    slider = page.locator("#whatif input[type=range]").bounding_box()
    page.touchscreen.tap(slider["x"] + slider["width"] * 0.1, slider["y"] + slider["height"] / 2)
    expect(then).not_to_have_text(before)
    page.get_by_role("link", name="Compare").tap()
    page.locator("#compare [role=option]").nth(1).tap()
    expect(page.locator("#compare .side .plain:visible")).to_have_count(2)
    context.close()


def test_regions_have_the_numbers_of_the_list_in_the_picture(ended, visit):
    frames = ended.ask("/api/v1/verdicts?decision=reject&limit=60")["verdicts"]
    frame = next(frame for frame in frames if len(frame["regions"]) > 1)
    page = visit(ended.url, "review")
    page.locator("#review [name=which]").select_option("rejected")
    page.locator(f"#frame-{frame['camera']}-{frame['seq']}").click()
    numbers = page.locator("#review .outlines text")
    expect(numbers).to_have_text([str(nth) for nth in range(1, len(frame["regions"]) + 1)])
    for number, region in zip(numbers.all(), frame["regions"], strict=True):
        box = region["bbox_px"]
        right, size = (float(number.get_attribute(name)) for name in ("x", "font-size"))
        assert box["x"] - size < right < box["x"] + box["width"]
        covers = box["width"] < 2 * size and right > box["x"]
        assert not covers or box["x"] <= size
