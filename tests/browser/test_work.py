"""The page is worked by keys alone, and says what they did."""

import re

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
    first = page.locator(".tile").first
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tile").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(first).to_be_focused()


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
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("j")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    # By keys, one goes on in the select.
    which.focus()
    page.keyboard.press("Shift")
    which.select_option("all")
    expect(which).to_be_focused()
    page.get_by_label("single keys").locator("visible=true").uncheck()
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("j")
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#review")).to_be_visible()
    page.reload()
    expect(page.get_by_label("single keys").locator("visible=true")).not_to_be_checked()


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
    expect(caption).to_contain_text("all cameras")
    times = page.locator("#rates-stages tr", has_text="frame").locator("td").first
    of_all = int(times.inner_text().replace(",", ""))
    page.locator("#rates-scope").select_option("camera/metal")
    page.locator("#rates-window").select_option("15m")
    expect(caption).to_have_text("Latency of the stages, metal, in the last 15 minutes")
    assert int(times.inner_text().replace(",", "")) < 0.7 * of_all


def test_a_label_corrects_the_rates_in_front_of_the_user(demo, visit):
    # The forty-fifth frame that is listed is of half a minute before: its minute is over when the next one begins.
    demo.until(lambda: any(window["closed"] for window in demo.ask(MINUTES)["windows"]))
    demo.until(lambda: demo.ask(MINUTES)["closed_up_to_us"] % 60_000_000 < 20_000_000)
    page = visit(demo.url, "review")
    page.locator("#review [name=camera]").select_option("metal")
    expect(page.locator("#review h3")).to_have_text(re.compile("^metal"))
    precision, labelled = page.locator("[data-rate=precision]"), page.locator("[data-rate=labelled]")
    expect(labelled).to_have_text("0")
    page.locator("#review [role=option]").nth(44).click()
    page.keyboard.press("a")
    expect(precision).to_have_text("100.0 %")
    page.keyboard.press("n")
    expect(precision).to_have_text("100.0 % → 50.0 %")
    expect(labelled).to_have_text("2")

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
