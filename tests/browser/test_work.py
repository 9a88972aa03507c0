"""The page is worked by keys alone, and says what they did."""

import re
import subprocess

import pytest
from conftest import CAMERAS, Server, barely_moved
from playwright.sync_api import expect

MINUTES = "/api/v1/rates?scope=camera/metal&window=1m"
PERCENT = r"\d+\.\d %"


def focused(page):
    return page.evaluate("document.activeElement.textContent.trim()")


def test_a_label_corrects_a_run_that_has_ended_and_is_taken_back(ended, visit):
    page = visit(ended.url, "review")
    expect(page.locator("#review .frame .truth")).to_have_text(re.compile("●"))
    precision = page.locator("[data-rate=precision]")
    expect(precision).to_have_text(re.compile(PERCENT))
    before = precision.text_content().split(" → ")[-1]
    page.keyboard.press("n")
    expect(precision).to_have_text(re.compile(f"^{before} → "))
    after = precision.text_content().split(" → ")[-1]
    assert after != before

    page.keyboard.press("2")
    row = page.locator("#rates-table tr", has_text="precision").locator("td")
    expect(row.nth(0)).to_have_text(after)
    expect(row.nth(1)).to_have_text(f"{before} → {after}")

    page.keyboard.press("3")
    page.keyboard.press("u")
    expect(precision).to_have_text(f"{after} → {before}")


def test_views_are_reached_by_keys(demo, visit):
    page = visit(demo.url)
    expect(page.locator(".tile")).to_have_count(3)
    for at, name in enumerate(page.locator("nav a").all_text_contents(), 1):
        page.keyboard.press(str(at))
        expect(page.locator("nav [aria-current=page]")).to_have_text(name)
        expect(page.locator("main > section:visible")).to_have_attribute("aria-label", name)
    page.reload()
    page.keyboard.press("Tab")
    assert focused(page).startswith("Skip")
    page.keyboard.press("Tab")
    assert focused(page) == "Line"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#rates")).to_be_visible()


def test_the_next_key_is_that_of_the_view_that_was_asked_for(demo, visit):
    page = visit(demo.url, "line")
    hidden = page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '3', bubbles: true })), document.querySelector('#review').hidden"
    )
    assert not hidden


def test_the_skip_link_goes_past_the_header(demo, visit):
    page = visit(demo.url, "review")
    expect(page.locator("#review [role=option]")).not_to_have_count(0)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#review")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') != null")


def test_arrows_go_from_tile_to_tile(demo, visit):
    page = visit(demo.url)
    cameras = page.locator(".tile h2 a")
    cameras.first.focus()
    page.keyboard.press("ArrowRight")
    expect(cameras.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(cameras.first).to_be_focused()


@pytest.mark.parametrize("by", ["pointer", "key"])
def test_a_tile_leads_to_the_frames_of_its_camera(by, ended, visit):
    page = visit(ended.url)
    tile = page.locator(".tile[data-camera=metal]")
    if by == "pointer":
        # Anywhere: the picture is what people point at.
        at = tile.locator(".picture").bounding_box()
        page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    else:
        tile.locator("h2 a").focus()
        page.keyboard.press("Enter")
    expect(page.locator("#review [name=camera]")).to_have_value("metal")
    expect(page.locator("#review .frame h3")).to_contain_text("metal, frame ")
    listed = page.locator("#review [role=option]")
    expect(listed).to_have_text([re.compile("metal ")] * listed.count())


def test_frames_are_gone_through_and_labels_taken_back_by_keys(demo, visit):
    page = visit(demo.url, "review")
    told = []
    page.on("request", lambda request: request.method == "POST" and told.append(request.post_data_json))
    title = page.locator("#review h3")
    expect(title).to_have_text(re.compile("frame"))
    first = title.text_content()
    page.keyboard.press("j")
    expect(title).not_to_have_text(first)
    page.keyboard.press("k")
    expect(title).to_have_text(first)

    heatmap = page.locator("#review .heatmap")
    expect(heatmap).to_be_visible()
    page.keyboard.press("h")
    expect(heatmap).to_be_hidden()
    page.keyboard.press("h")
    expect(heatmap).to_be_visible()

    page.keyboard.press("n")
    expect(title).not_to_have_text(first)
    page.keyboard.press("u")
    expect(title).to_have_text(first)
    expect(page.locator("#review .frame .truth")).to_have_text("nobody said")
    expect(page.locator("#review .status")).to_contain_text("unlabelled again")
    assert [label["truth"] for label in told] == ["normal", "unlabelled"]
    assert told[0]["seq"] == told[1]["seq"]

    # A key that is held down is pressed again and again.
    told.clear()
    for _ in range(5):
        page.keyboard.down("n")
    page.keyboard.up("n")
    expect(title).not_to_have_text(first)
    page.keyboard.press("u")
    expect(title).to_have_text(first)
    assert [label["truth"] for label in told] == ["normal", "unlabelled"]
    for _ in range(5):
        page.keyboard.down("j")
    page.keyboard.up("j")
    expect(page.locator("#review [role=option]").nth(4)).to_have_attribute("aria-selected", "false")
    expect(title).not_to_have_text(first)


def test_a_class_is_said_by_keys_alone(demo, visit):
    page = visit(demo.url, "review")
    page.locator("#review [name=which]").select_option("rejected")
    title, field = page.locator("#review h3"), page.locator("#review [name=class]")
    expect(title).not_to_be_empty()
    told = []
    page.on("request", lambda request: request.method == "POST" and told.append(request.post_data_json))
    field.focus()
    page.keyboard.type("hole")
    page.keyboard.press("Escape")
    expect(field).not_to_be_focused()
    expect(field).to_have_value("hole")
    field.focus()
    first = title.text_content()
    page.keyboard.press("Enter")
    expect(title).not_to_have_text(first)
    expect(field).to_have_value("")
    expect(field).not_to_be_focused()
    page.keyboard.press("u")
    expect(title).to_have_text(first)
    assert [label["truth"] for label in told] == ["anomalous:hole", "unlabelled"]


def test_the_slider_says_what_another_threshold_would_do(demo, visit):
    page = visit(demo.url, "whatif")
    slider = page.locator("#whatif input[type=range]")
    now, then = (page.locator("#whatif tbody tr").first.locator("td").nth(at) for at in (0, 1))
    expect(now).to_have_text(re.compile(r"\d of \d"))
    before = page.locator("#whatif output").text_content()

    def rejected(cell):
        return int(cell.text_content().split(" of ")[0].replace(",", ""))

    slider.focus()
    page.keyboard.press("PageDown")
    expect(page.locator("#whatif output")).not_to_have_text(before)
    page.keyboard.press("Home")
    assert rejected(then) > rejected(now)
    page.keyboard.press("End")
    assert rejected(then) < rejected(now)


def test_the_list_goes_on_behind_its_first_page(ended, visit):
    page = visit(ended.url, "review")
    page.locator("#review [name=which]").select_option("all")
    listed = page.locator("#review [role=option]")
    expect(listed).to_have_count(60)
    page.get_by_role("button", name="More").click()
    expect(listed).to_have_count(120)
    names = listed.all_text_contents()
    assert len(set(names)) == 120
    listed.last.click()
    page.keyboard.press("j")
    expect(listed).to_have_count(180)
    page.keyboard.press("j")
    expect(listed.nth(120)).to_have_attribute("aria-selected", "true")
    # What is asked for again meanwhile takes nobody away from where they are.
    page.wait_for_timeout(2500)
    expect(listed.nth(120)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("k")
    expect(page.locator("#review [aria-selected=true]")).to_have_text(names[-1])


def test_keys_are_the_lists_after_a_choice_by_pointer_and_can_be_switched_off(ended, visit):
    page = visit(ended.url, "review")
    which = page.locator("#review [name=which]")
    options = page.locator("#review [role=option]")
    expect(options.first).to_have_attribute("aria-selected", "true")
    which.dispatch_event("pointerdown")
    which.focus()
    which.select_option("rejected")
    expect(page.locator("#review .queue")).to_be_focused()
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("j")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    # By keys, one goes on in the select.
    which.focus()
    page.keyboard.press("Shift")
    which.select_option("all")
    expect(which).to_be_focused()
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    page.get_by_label("single keys").locator("visible=true").uncheck()
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("j")
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#review")).to_be_visible()
    page.reload()
    expect(page.get_by_label("single keys").locator("visible=true")).not_to_be_checked()


def test_keys_before_other_frames_came_do_nothing(ended, visit):
    page = visit(ended.url, "review")
    options = page.locator("#review [role=option]")
    page.locator("#review [name=which]").select_option("all")
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    expect(page.locator("#review .more")).to_be_visible()
    held, asked = [], []
    page.route("**/api/v1/verdicts?*", lambda route: held.append(route))
    page.on("request", lambda request: re.search(r"/verdicts\?|/labels$", request.url) and asked.append(request.url))
    page.locator("#review [name=camera]").select_option("metal")
    expect(page.locator("#review .queue[aria-busy=true]")).to_be_visible()
    for pressed in "jnju":
        page.keyboard.press(pressed)
    page.wait_for_timeout(200)
    assert [url.split("/v1")[1] for url in asked] == ["/verdicts?camera=metal&limit=60&order=newest"]
    held[0].continue_()
    page.unroute("**/api/v1/verdicts?*")
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    expect(options.first).to_have_attribute("aria-selected", "true")
    newest = ended.ask("/api/v1/verdicts?camera=metal&order=newest&limit=1")["verdicts"][0]
    expect(options.first).to_have_attribute("id", f"frame-metal-{newest['seq']}")


def test_the_frames_of_another_choice_are_seen_from_the_first_on(ended, visit):
    page = visit(ended.url, "review")
    page.locator("#review [name=which]").select_option("all")
    options = page.locator("#review [role=option]")
    expect(options).to_have_count(60)
    options.nth(50).click()
    queue = page.locator("#review .queue")
    assert queue.evaluate("(list) => list.scrollTop") > 0
    for name, value in [("which", "uncertain"), ("camera", "metal")]:
        page.locator(f"#review [name={name}]").select_option(value)
        expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
        expect(options.first).to_have_attribute("aria-selected", "true")
        assert queue.evaluate("(list) => list.scrollTop") == 0
        options.nth(30).click()


def test_what_was_rejected_and_what_is_borderline_is_seen_first_and_the_newest_of_it(ended, visit):
    page = visit(ended.url, "review")
    doubtful = ended.ask("/api/v1/verdicts?min_score=0.4&limit=60")["verdicts"]
    assert {frame["decision"] for frame in doubtful} == {"pass", "reject"}
    listed = page.locator("#review [role=option]")
    expect(listed).to_have_count(len(doubtful))
    for item, frame in zip(listed.all(), doubtful, strict=True):
        expect(item).to_have_attribute("id", f"frame-{frame['camera']}-{frame['seq']}")
        expect(item).to_have_attribute("data-decision", frame["decision"])


def test_a_choice_is_kept_whatever_answers_late(ended, visit):
    page = visit(ended.url, "review")
    expect(page.locator("#review [role=option]")).not_to_have_count(0)
    late = []

    def answer(route):
        # Of all cameras it is answered only after what was chosen then.
        late.append(route) if "camera=" not in route.request.url else route.continue_()

    page.route("**/api/v1/verdicts*", answer)
    page.wait_for_timeout(2500)
    assert late
    page.locator("#review [name=camera]").select_option("metal")
    expect(page.locator("#review h3")).to_have_text(re.compile("^metal"))
    for route in late:
        route.continue_()
    page.wait_for_timeout(500)
    expect(page.locator("#review h3")).to_have_text(re.compile("^metal"))


def test_the_scores_of_a_camera_are_seen_beside_those_of_calibration(ended, visit):
    page = visit(ended.url, "rates")
    expect(page.locator("#rates-scope option")).not_to_have_count(0)
    expect(page.locator("#rates-scores")).to_be_hidden()
    page.locator("#rates-scope").select_option("camera/fabric")
    expect(page.locator("#rates-scores rect")).not_to_have_count(0)
    expect(page.locator("#rates-scores path.calibration")).to_be_visible()
    expect(page.locator("#rates-stages caption")).to_have_text("Latency of the stages, fabric, since the run began")


def test_latencies_are_those_of_the_chosen_camera_and_window(demo, visit):
    page = visit(demo.url, "rates")
    caption = page.locator("#rates-stages caption")
    # Of the same minutes.
    expect(page.locator("#rates-scope option")).not_to_have_count(0)
    page.locator("#rates-window").select_option("15m")
    expect(caption).to_have_text("Latency of the stages, all cameras, in the last 15 minutes")
    times = page.locator("#rates-stages tr", has_text="frame").locator("td").first
    of_all = int(times.inner_text().replace(",", ""))
    page.locator("#rates-scope").select_option("camera/metal")
    expect(caption).to_have_text("Latency of the stages, metal, in the last 15 minutes")
    assert int(times.inner_text().replace(",", "")) < 0.7 * of_all


def test_a_label_corrects_the_rates_in_front_of_the_user(demo, visit):
    # The forty-fifth frame that is listed is of half a minute before: its minute is over when the next one begins.
    demo.until(lambda: any(window["closed"] for window in demo.ask(MINUTES)["windows"]))
    demo.until(lambda: demo.ask(MINUTES)["closed_up_to_us"] % 60_000_000 < 20_000_000)
    page = visit(demo.url, "review")
    # What passed, though barely, is in no precision.
    page.locator("#review [name=which]").select_option("rejected")
    page.locator("#review [name=camera]").select_option("metal")
    expect(page.locator("#review .queue:not([aria-busy])")).to_be_visible()
    expect(page.locator("#review h3")).to_have_text(re.compile("^metal"))
    precision, labelled = page.locator("[data-rate=precision]"), page.locator("[data-rate=labelled]")
    expect(labelled).to_have_text("0")
    page.locator("#review [role=option]").nth(44).click()
    page.keyboard.press("a")
    expect(precision).to_have_text("100.0 %")
    page.keyboard.press("n")
    expect(precision).to_have_text("100.0 % → 50.0 %")
    expect(labelled).to_have_text("2")
    barely_moved(page)

    page.keyboard.press("2")
    page.locator("#rates-scope").select_option("camera/metal")
    page.locator("#rates-window").select_option("1m")
    corrected = page.locator(".chart", has_text="Precision and recall").locator(
        "title", has_text="corrected from 100.0 %"
    )
    expect(corrected).to_have_text(re.compile(r": 50.0 %; corrected from 100.0 % \(revision \d+\)"))
    row = page.locator("#rates-corrections tr", has_text="precision").first
    expect(row.locator("td")).to_have_text(["100.0 % → 50.0 %", re.compile(r"\d+")])


def test_a_frame_of_which_no_picture_was_kept_says_so(ended, visit):
    page = visit(ended.url, "review")
    page.locator("#review [name=which]").select_option("all")
    passed = page.locator("#review [role=option][data-decision=pass]", has_text=re.compile(r"0\.[0-3]"))
    # The last frame of each camera has one.
    passed.nth(10).click()
    expect(page.locator("#review .picture .nothing")).to_contain_text("No picture of this frame was kept")
    expect(page.locator("#review .picture .plain")).to_be_hidden()


@pytest.fixture
def seconds(program, fitted, tmp_path):
    """A run of six seconds that has ended, counted by the second."""
    (tmp_path / "line.toml").write_text(
        '[rates]\nwindows = ["1s"]\n[[camera]]\nname = "metal"\nsource = "synthetic"\nscene = "metal"\nframes = 60\n'
        f'detector = "{fitted}/metal.intakt"\n'
    )
    inspect = [program, "inspect", "line.toml", "--run", "run"]
    ran = subprocess.run(inspect, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr
    server = Server(program, "serve", tmp_path / "run", said=tmp_path / "said")
    yield server
    server.end()


def test_a_label_of_an_older_frame_is_seen_in_the_window_it_is_in(seconds, visit):
    page = visit(seconds.url, "review")
    page.locator("#review [name=which]").select_option("all")
    expect(page.locator("#review [role=option]")).to_have_count(60)
    shown, labelled = page.locator("#review .rates-of"), page.locator("#review [data-rate=labelled]")
    expect(shown).to_have_text("no labels near this frame")
    page.keyboard.press("a")
    expect(labelled).to_have_text("1")
    expect(shown).to_have_text(re.compile(r"^all cameras, 1s to \d\d:\d\d:\d\d$"))
    newest = shown.text_content()
    page.locator("#frame-metal-5").click()
    expect(shown).to_have_text("no labels near this frame")
    page.keyboard.press("a")
    expect(labelled).to_have_text("1")
    assert shown.text_content() < newest


def test_every_window_and_camera_of_the_run_can_be_chosen(ended, visit):
    def answer_little(route):
        answer = route.fetch()
        page = answer.json()
        page["windows"] = [of for of in page["windows"] if (of["scope"], of["window"]) == ("all", "2s")]
        route.fulfill(response=answer, json=page)

    page = visit(ended.url)
    page.route("**/api/v1/rates?limit=1000", answer_little)
    page.keyboard.press("2")
    expect(page.locator("#rates-window option")).to_have_text(["2s", "10s", "1m"])
    expect(page.locator("#rates-scope option")).to_have_text(["all", *sorted(CAMERAS)])


def test_windows_are_shown_from_as_many_pages_as_they_are_on(ended, visit):
    windows = ended.ask("/api/v1/rates?scope=camera/metal&window=2s")["windows"]
    assert len(windows) > 2
    page = visit(ended.url)

    def ask_for_one(route):
        route.continue_(url=route.request.url.replace("limit=240", "limit=1"))

    page.route("**/api/v1/rates?*limit=240*", ask_for_one)
    page.keyboard.press("2")
    page.locator("#rates-scope").select_option("camera/metal")
    page.locator("#rates-window").select_option("2s")
    rejected = page.locator(".chart", has=page.locator("figcaption b", has_text=re.compile("^Rejected$")))
    points = rejected.locator(".dot, .corrected, .hollow")
    expect(points).to_have_count(len(windows))


class Growing:
    """A list that grows at its newest end, and is answered page by page."""

    def __init__(self, frames):
        self.frames = frames

    def page(self, route, of):
        asked = dict(part.split("=") for part in route.request.url.partition("?")[2].split("&"))
        # A cursor is how many frames were before the last one that was listed.
        end = int(asked.get("cursor") or len(self.frames))
        begin = max(0, end - int(asked["limit"]))
        route.fulfill(json={of: self.frames[begin:end][::-1], "next": str(begin) if begin else None})


def growing(frame, n):
    return [{**frame, "seq": seq, "has_picture": False, "regions": [], "suppressed": []} for seq in range(n)]


def test_no_frame_is_left_out_of_a_list_that_grows_by_more_than_a_page(ended, visit):
    frame = ended.ask("/api/v1/verdicts?limit=1")["verdicts"][0]
    verdicts = Growing(growing(frame, 100))
    page = visit(ended.url)
    page.route("**/api/v1/verdicts?*", lambda route: verdicts.page(route, "verdicts"))
    page.keyboard.press("3")
    listed, chosen = page.locator("#review [role=option]"), page.locator("#review [aria-selected=true]")
    expect(listed).to_have_count(60)
    page.get_by_role("button", name="More").click()
    expect(listed).to_have_count(100)
    page.locator(f"#frame-{frame['camera']}-20").click()
    verdicts.frames = growing(frame, 800)
    expect(listed).to_have_count(800)
    expect(chosen).to_have_id(f"frame-{frame['camera']}-20")
    # It is further away than is asked for: the list begins anew, and the frame stays to be looked at.
    verdicts.frames = growing(frame, 10_000)
    expect(listed).to_have_count(60)
    expect(page.locator("#review h3")).to_have_text(f"{frame['camera']}, frame 20")
    expect(listed.last).to_have_id(f"frame-{frame['camera']}-{10_000 - 60}")


def test_flips_that_come_leave_what_is_looked_at(ended, visit):
    flip = ended.ask("/api/v1/compare/flips?limit=1")["flips"][0]
    counted = ended.ask("/api/v1/compare")
    camera = flip["before"]["camera"]

    def of(n):
        sides = (growing(flip[side], n) for side in ("before", "after"))
        return [{"before": before, "after": after} for before, after in zip(*sides, strict=True)]

    flips = Growing(of(200))
    page = visit(ended.url)

    def compare(route):
        n = len(flips.frames)
        cameras = [{**of, "both": n} for of in counted["cameras"]]
        route.fulfill(json={**counted, "run": f"with {n}", "cameras": cameras})

    page.route("**/api/v1/compare", compare)
    page.route("**/api/v1/compare/flips?*", lambda route: flips.page(route, "flips"))
    page.keyboard.press("5")
    listed, chosen = page.locator("#compare [role=option]"), page.locator("#compare [aria-selected=true]")
    expect(listed).to_have_count(50)
    page.get_by_role("button", name="More").click()
    expect(listed).to_have_count(100)
    page.locator(f"#flip-{camera}-101").click()
    flips.frames = of(220)
    expect(page.locator("#compare caption")).to_contain_text("with 220")
    expect(listed).to_have_count(150)
    expect(chosen).to_have_id(f"flip-{camera}-101")
    page.keyboard.press("j")
    expect(chosen).to_have_id(f"flip-{camera}-100")
