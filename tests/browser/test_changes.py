"""What people change from the page, who may, and what the line says by itself."""

import json
import re
import urllib.request

import pytest
from conftest import Server, barely_moved, violations
from playwright.sync_api import expect

RUN_FILE = """
detector = "{fitted}/metal.intakt"
[rates]
alerts = ["camera silent 2 s"]
[[camera]]
name = "dock"
source = "http"
[[camera]]
name = "flood"
source = "http"
depth = 1
[[camera]]
name = "gate"
source = "mjpeg"
url = "http://ana:password-of-the-camera@127.0.0.1:9/"
"""
WRONG = "wrong-wrong-0123456789"
TOKENS = {"viewer": "viewer-viewer-0123456789", "admin": "admin-admin-0123456789"}
NAMES = {"viewer": "Ana of shift 2", "admin": "Ben"}
# They are posted several times as fast as one thread judges them.
FLOOD = 100

# In some browsers Escape leaves a dialog the answer of the time before, in others it takes it back. Here it is left.
KEEP_ANSWER = """
() => {
  const dialog = document.querySelector("#apply");
  let kept = null;
  dialog.addEventListener("cancel", () => (kept = dialog.returnValue));
  document.addEventListener("close", () => ([dialog.returnValue, kept] = [kept ?? dialog.returnValue, null]), true);
}
"""


class Line(Server):
    """A run that goes on: one camera takes what is posted, one too little of it, and nobody answers for the third."""

    def __init__(self, program, fitted, place, *arguments, token=None):
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.images = fitted / "normal"
        (place / "line.toml").write_text(RUN_FILE.format(fitted=fitted))
        run = ["inspect", place / "line.toml", "--run", place / "run", "--pool", "1", *arguments]
        super().__init__(program, *run, said=place / "said")
        self.post("metal")
        # Another product, which is certainly rejected.
        assert self.post("fabric")["decision"] == "reject"

    def ask(self, path, body=None):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, self.headers), timeout=30) as answer:
            return json.load(answer)

    def post(self, product="metal", camera="dock", query=""):
        return self.ask(f"/api/v1/cameras/{camera}/frames{query}", (self.images / product / "0000.png").read_bytes())

    def threshold(self):
        return next(of["threshold"] for of in self.ask("/api/v1/cameras")["cameras"] if of["camera"] == "dock")

    def tell_threshold(self, threshold):
        body = json.dumps({"threshold": threshold}).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        path = "/api/v1/cameras/dock/threshold"
        asked = urllib.request.Request(self.url + path, body, headers, method="PUT")
        urllib.request.urlopen(asked, timeout=30).close()

    def noted(self, what):
        return [entry for entry in self.ask("/api/v1/audit")["entries"] if entry["what"] == what]


@pytest.fixture(scope="module")
def line(program, fitted, tmp_path_factory):
    server = Line(program, fitted, tmp_path_factory.mktemp("line"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def guarded(program, fitted, tmp_path_factory):
    """A line that asks for a token."""
    place = tmp_path_factory.mktemp("guarded")
    (place / "tokens").write_text("".join(f"{role} {TOKENS[role]} {NAMES[role]}\n" for role in TOKENS))
    server = Line(program, fitted, place, "--token-file", place / "tokens", token=TOKENS["admin"])
    yield server
    server.end()


def asking_what_if(line, visit, **look):
    """The view when it knows the first camera's scores, and the changes that are told from it."""
    # What was set before is what the page begins with.
    newest = line.post()["threshold"]
    line.until(lambda: line.ask("/api/v1/histogram?camera=dock")["image_threshold"] == newest)
    page = visit(line.url, "whatif", **look)
    told = []
    page.on("request", lambda request: request.method == "PUT" and told.append((request.url, request.post_data_json)))
    expect(page.locator("#whatif [name=camera]")).to_have_value("dock")
    expect(page.locator("#whatif tbody td").first).to_have_text(re.compile(r"\d of \d"))
    return page, told


def go_to_the_button(page):
    page.locator("#whatif input[type=range]").focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("Tab")
    expect(page.locator("#whatif [name=own]")).to_be_focused()
    page.keyboard.press("Tab")
    if page.locator("#whatif .given").is_visible():
        page.keyboard.press("Tab")
    expect(page.locator("#whatif .set")).to_be_focused()


def ask_to_set(page):
    """Goes up to the question whether to set it, by keys."""
    go_to_the_button(page)
    page.keyboard.press("Enter")
    expect(page.locator("#apply")).to_be_visible()
    assert page.evaluate("document.querySelector('#apply').contains(document.activeElement)")


def set_it(page, at_seq=""):
    page.locator("#apply input").fill(at_seq)
    with page.expect_response(lambda response: response.request.method == "PUT"):
        page.locator("#apply [value=set]").press("Enter")
    expect(page.locator("#apply")).to_be_hidden()


def settle(page):
    """Waits until what the page asked before has left it."""
    page.evaluate("async () => { await fetch('/api/v1/session'); }")


def is_near(threshold):
    return pytest.approx(threshold, rel=1e-5)


def test_leaving_the_question_sets_nothing_whatever_was_confirmed_before(line, visit):
    page, told = asking_what_if(line, visit)
    page.evaluate(KEEP_ANSWER)
    before = line.threshold()
    leave_it = page.locator("#apply").get_by_text("Leave it")

    def leave():
        for way in (lambda: page.keyboard.press("Escape"), lambda: leave_it.press("Enter")):
            ask_to_set(page)
            way()
            expect(page.locator("#apply")).to_be_hidden()
            expect(page.locator("#whatif .set")).to_be_focused()
            settle(page)

    leave()
    assert not told and line.threshold() == before
    ask_to_set(page)
    set_it(page)
    # It is shown until it is in effect, and the slider stands at the new threshold then.
    expect(page.locator("#whatif .said")).to_contain_text("dock rejects from")
    with page.expect_response("**/api/v1/histogram*"):
        pass
    settle(page)
    expect(page.locator("#whatif [name=own]")).to_have_value(f"{told[0][1]['threshold']:.6g}")
    line.post()
    expect(page.locator("#whatif .said")).to_contain_text("on now")
    expect(page.locator("#whatif input[type=range]")).to_have_value("128")
    leave()
    assert len(told) == 1 and line.threshold() == is_near(told[0][1]["threshold"]) != before


def test_a_threshold_holds_from_the_next_frame_on_and_is_noted(line, visit):
    page, told = asking_what_if(line, visit)
    before = line.post()["threshold"]
    ask_to_set(page)
    set_it(page)
    verdict = line.post()
    settle(page)
    [(url, body)] = told
    assert url == f"{line.url}/api/v1/cameras/dock/threshold" and body.keys() == {"threshold"}
    assert verdict["threshold"] == is_near(body["threshold"]) and body["threshold"] < before
    noted = line.noted("threshold")[0]
    assert (noted["camera"], noted["who"]) == ("dock", "local")
    assert (noted["before"], noted["after"]) == (before, is_near(body["threshold"]))
    [effect] = line.until(lambda: [entry for entry in line.noted("took effect") if entry["of"] == noted["id"]])
    assert effect["frame"] == verdict["seq"]


def test_a_threshold_may_be_typed_and_the_one_that_the_detector_came_with_is_a_press_away(line, visit):
    page, told = asking_what_if(line, visit)
    own, given, button = (page.locator(f"#whatif {part}") for part in ("[name=own]", ".given", ".set"))
    expect(own).to_be_enabled()
    own.fill("0")
    expect(button).to_be_disabled()
    expect(page.locator("#whatif .why")).to_contain_text("everything would be rejected")
    for ambiguous in ("1,000", "16,829"):
        own.fill(ambiguous)
        expect(page.locator("#whatif .why")).to_contain_text("without a comma")
    own.fill("1,8,5")
    expect(button).to_be_disabled()
    # Also when what was asked for before is there.
    with page.expect_response("**/api/v1/histogram*"):
        pass
    settle(page)
    expect(own).to_have_value("1,8,5")
    expect(button).to_be_disabled()
    expect(page.locator("#whatif .why")).to_have_text("This is no number.")
    # As many people write it.
    own.fill("18,5")
    button.press("Enter")
    expect(page.locator("#apply p").first).to_contain_text("rejects from 18.5 on")
    page.keyboard.press("Escape")
    own.fill("1000000")
    button.press("Enter")
    expect(page.locator("#apply p").first).to_contain_text("rejects from 1000000 on")
    set_it(page)
    expect(page.locator("#whatif .said")).to_contain_text("hardly anything will be rejected")
    assert line.post()["threshold"] == told[0][1]["threshold"] == 1_000_000
    expect(given).to_be_visible()
    given.press("Enter")
    expect(own).to_have_value(given.text_content().split(",")[0])
    button.press("Enter")
    set_it(page)
    fitted = line.post()["threshold"]
    assert given.text_content().startswith(f"{fitted}") and fitted < 1_000
    # What was judged meanwhile counts, too.
    now = page.locator("#whatif tbody tr").first.locator("td").first
    expect(now).to_have_text(re.compile(r"\d of \d"))
    expect(given).to_be_hidden()
    assert line.ask("/api/v1/histogram?camera=dock")["frames_of_other_detectors"] == 0


def test_a_threshold_holds_from_the_frame_that_is_named(line, visit):
    page, told = asking_what_if(line, visit)
    newest = line.post()
    at_seq = newest["seq"] + 3
    ask_to_set(page)
    set_it(page, str(at_seq))
    [(_, body)] = told
    assert body["at_seq"] == line.noted("threshold")[0]["at_seq"] == at_seq
    before, after = newest["threshold"], is_near(body["threshold"])
    assert before != after
    assert [line.post()["threshold"] for _ in range(4)] == [before, before, after, after]


def test_a_frame_that_has_come_leaves_it_to_the_next_one_and_the_page_says_so(line, visit):
    page, told = asking_what_if(line, visit)
    ask_to_set(page)
    set_it(page, "0")
    expect(page.locator("#whatif .said")).to_contain_text("at frame 0, or at the next one if that has come")
    assert line.post()["threshold"] == is_near(told[0][1]["threshold"])


def test_another_question_may_come_at_once(line, visit):
    page, told = asking_what_if(line, visit)
    # The new threshold is not known for as long as nobody answers.
    page.route("**/api/v1/histogram*", lambda route: None)
    ask_to_set(page)
    set_it(page)
    expect(page.locator("#whatif .said")).to_contain_text("Told")
    page.locator("#whatif .set").evaluate("(button) => button.click()")
    settle(page)
    assert len(told) == 1


def test_why_a_threshold_was_not_taken_stays_to_be_read(line, visit):
    page, _ = asking_what_if(line, visit, forgiven="status of 507")
    reason = "nothing was changed, because it cannot be noted"
    page.route("**/threshold", lambda route: route.fulfill(status=507, json={"detail": reason}))
    ask_to_set(page)
    set_it(page)
    expect(page.get_by_text(reason)).to_be_visible()
    page.wait_for_event("requestfinished", lambda request: "/histogram" in request.url)
    settle(page)
    assert page.get_by_text(reason).is_visible()


def test_keys_do_not_reach_past_an_open_question(line, visit):
    page, _ = asking_what_if(line, visit)
    ask_to_set(page)
    page.locator("#apply [value=set]").press("1")
    settle(page)
    assert page.url.endswith("#/whatif")


def sign_in(page, token):
    page.locator("#token").fill(token)
    page.keyboard.press("Enter")


def test_the_page_asks_for_its_token_once_and_says_who_it_is(guarded, visit):
    page = visit(guarded.url, forgiven="status of 401")
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    expect(page.locator("#sign-in")).to_be_visible()
    sign_in(page, WRONG)
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("main")).to_be_hidden()
    sign_in(page, TOKENS["viewer"])
    expect(page.locator(".tile")).to_have_count(3)
    page.reload()
    expect(page.locator(".tile")).to_have_count(3)
    expect(page.locator("#sign-in")).to_be_hidden()
    expect(page.locator("#who span")).to_have_text(f"{NAMES['viewer']} (viewer)")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#token")).to_have_value("")
    page.reload()
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("main")).to_be_hidden()
    shown = [url for url in (*urls, page.url) if any(token in url for token in (WRONG, *TOKENS.values()))]
    assert urls and not shown


def test_what_others_set_moves_the_scale_under_what_was_typed(line, visit):
    page, _ = asking_what_if(line, visit)
    own, slider = page.locator("#whatif [name=own]"), page.locator("#whatif input[type=range]")
    expect(own).to_be_enabled()
    before = line.threshold()
    own.fill(f"{before + 1:.6g}")
    expect(slider).not_to_have_value("128")
    thumb = int(slider.input_value())
    line.tell_threshold(before + 3)
    line.post()
    page.wait_for_function("(thumb) => document.querySelector('#whatif input[type=range]').value < thumb", arg=thumb)
    assert int(slider.input_value()) < 128, "it would reject more than what holds"
    # And one that hardly anything would be above is not set unawares.
    own.fill("1e6")
    page.locator("#whatif .set").click()
    expect(page.locator("#apply p")).to_contain_text("hardly anything will be rejected")
    page.keyboard.press("Escape")
    line.tell_threshold(before)
    line.post()


def test_a_viewer_is_told_what_only_others_may_do(guarded, visit):
    page = visit(guarded.url, "whatif", forgiven="status of 40[13]")
    sign_in(page, TOKENS["viewer"])
    expect(page.locator("#whatif .why")).to_have_text("Setting it takes an administrator's token.")
    page.locator("#whatif input[type=range]").press("PageDown")
    expect(page.locator("#whatif input[type=range]")).not_to_have_value("128")
    expect(page.locator("#whatif .set")).to_be_disabled()
    page.locator("#whatif input[type=range]").blur()
    page.keyboard.press("3")
    expect(page.locator("#review h3")).to_have_text("dock, frame 1")
    expect(page.locator("#review .keys .why")).to_have_text("Labelling takes an inspector's token.")
    for key in "nau":
        page.keyboard.press(key)
    expect(page.locator("#review h3")).to_have_text("dock, frame 1")
    expect(page.locator("#review .frame .truth")).to_have_text("nobody said")
    for button in (".normal", ".anomalous", ".undo"):
        expect(page.locator(f"#review {button}")).to_be_disabled()


def test_a_label_that_is_refused_is_taken_back_and_says_why(line, visit):
    page = visit(line.url, "review", forgiven="status of 403")
    why = "this needs the role inspector, and the token that was shown has the role viewer"
    refusal = {"status": 403, "content_type": "application/problem+json", "body": json.dumps({"detail": why})}
    page.route("**/api/v1/labels", lambda route: route.fulfill(**refusal))
    title = page.locator("#review h3")
    expect(title).to_have_text(re.compile(r"^dock, frame \d+$"))
    seq = title.text_content().split()[-1]
    page.keyboard.press("n")
    expect(page.locator("#review .status")).to_have_text(f"dock {seq} was not labelled: {why}")
    page.locator(f"#frame-dock-{seq}").click()
    expect(page.locator("#review .frame .truth")).to_have_text("nobody said")
    expect(page.locator("#review .undo")).to_be_disabled()


def test_an_alert_is_on_the_page_while_it_is_open(line, visit):
    page = visit(line.url, "rates")
    alert = page.locator("#alerts").get_by_text("Alert: camera silent 2 s, of dock", exact=True)
    expect(alert).to_be_visible()
    line.post()
    expect(alert).to_have_count(0)
    barely_moved(page)


def test_alerts_leave_what_has_the_focus_to_be_seen(line, visit):
    page, _ = asking_what_if(line, visit)
    expect(page.locator("#alerts li")).to_have_count(3)
    go_to_the_button(page)
    seen = """(it) => { const { x, y, width, height } = it.getBoundingClientRect();
        return document.elementFromPoint(x + width / 2, y + height / 2) === it; }"""
    assert page.locator("#whatif .set").evaluate(seen)


def test_a_camera_that_nobody_answers_for_says_why_and_not_its_password(line, visit):
    page = visit(line.url)
    tile = page.locator(".tile[data-camera=gate]")
    expect(tile.locator(".camera-state")).to_have_text("reconnecting")
    expect(tile.locator(".reason")).to_contain_text("cannot connect to 127.0.0.1:9: ")
    assert "password-of-the-camera" not in page.content()


def test_a_camera_that_drops_frames_says_so(line, visit):
    page = visit(line.url)
    state = page.locator(".tile[data-camera=flood] .camera-state")
    expect(state).to_have_text("no frame yet")
    for _ in range(FLOOD):
        line.post(camera="flood", query="?wait=false")
    expect(state).to_have_text("dropping")
    expect(page.locator("[data-total=dropped]")).not_to_have_text("0")
    barely_moved(page)


def question(page):
    expect(page.locator("#whatif tbody td").first).to_have_text(re.compile(r"\d of \d"))
    ask_to_set(page)


def refusal(page):
    sign_in(page, WRONG)
    expect(page.get_by_role("alert")).not_to_be_empty()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("run", "asked"), [("line", question), ("guarded", refusal)], ids=["set", "sign-in"])
def test_what_the_page_asks_can_be_read_by_everybody(run, asked, scheme, request, visit, pytestconfig):
    page = visit(request.getfixturevalue(run).url, "whatif", scheme, forgiven="status of 401")
    asked(page)
    page.screenshot(path=pytestconfig.getoption("shots") / f"{request.node.callspec.id}.png")
    assert not violations(page)
