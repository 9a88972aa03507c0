"""What comes to the page, how fast, and what it does while there is no server."""

import contextlib
import re
import socket
import statistics
import threading
import time

import pytest
from conftest import Server
from playwright.sync_api import expect

ARRIVED_MS_MAX = 500
FRAMES = 20
# A note of when each number of a frame was there to be seen, by the clock that the test goes by.
WATCH = """
() => {
  window.seenAt = {};
  const frame = document.querySelector(".tile .frame");
  new MutationObserver(() => requestAnimationFrame(() => (window.seenAt[frame.textContent] ??= Date.now())))
    .observe(frame, { childList: true, characterData: true, subtree: true });
}
"""


# The page as it is: when it is loaded anew, the mark is gone.
MARK = "document.body.dataset.marked = ''"

# Another tab is looked at, or this one again.
SEE = """
(isSeen) => {
  Object.defineProperty(document, "hidden", { get: () => !isSeen, configurable: true });
  Object.defineProperty(document, "visibilityState", { get: () => (isSeen ? "visible" : "hidden"), configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
# For longer than a reject is held.
UNSEEN_MS = 5_500


class Cable:
    """Between the page and a server. Once it is pulled, what went through it hears nothing any more, and is not told so."""

    def __init__(self, url):
        self.far_end = url.removeprefix("http://").split(":")
        self.through = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.let_through, daemon=True).start()

    def let_through(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.far_end)
            is_whole = threading.Event()
            is_whole.set()
            self.through.append(is_whole)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(*ends, is_whole), daemon=True).start()

    @staticmethod
    def carry(source, sink, is_whole):
        with contextlib.suppress(OSError):
            while sent := source.recv(65_536):
                if is_whole.is_set():
                    sink.sendall(sent)
            if is_whole.is_set():
                sink.shutdown(socket.SHUT_WR)

    def pull(self):
        for is_whole in self.through:
            is_whole.clear()


@pytest.fixture
def dock(program, fitted, tmp_path):
    """Starts a run whose camera takes what is posted to it, and goes on with it, or starts another one."""
    (tmp_path / "line.toml").write_text(
        f'detector = "{fitted}/metal.intakt"\n[[camera]]\nname = "dock"\nsource = "http"\n'
    )
    started = []

    def start(listen="127.0.0.1:0", run="run"):
        arguments = ["inspect", tmp_path / "line.toml", "--run", tmp_path / run, "--resume"]
        started.append(Server(program, *arguments, said=tmp_path / "said", listen=listen))
        return started[-1]

    yield start
    started[-1].end()


@pytest.fixture
def part(fitted):
    return (fitted / "normal/metal/0000.png").read_bytes()


def post(server, part):
    return server.ask("/api/v1/cameras/dock/frames", part)["seq"]


def test_a_verdict_is_on_the_page_soon_after_its_frame(dock, part, visit):
    server = dock()
    post(server, part)
    page = visit(server.url)
    expect(page.locator(".tile .frame")).to_have_text("frame 0")
    page.evaluate(WATCH)
    took_ms = []
    for at in range(FRAMES):
        # The server speaks four times a second: each frame comes at another moment in between.
        page.wait_for_timeout(200 + 250 * at / FRAMES)
        posted_at = time.time()
        seq = post(server, part)
        said = f"frame {seq:,}"
        expect(page.locator(".tile .frame")).to_have_text(said)
        took_ms.append(page.evaluate("(said) => window.seenAt[said]", said) - posted_at * 1000)
    print(f"from posting to seeing: median {statistics.median(took_ms):.0f} ms, at most {max(took_ms):.0f} ms")
    assert max(took_ms) < ARRIVED_MS_MAX


def test_the_page_goes_on_when_the_server_does(dock, part, visit):
    server = dock()
    post(server, part)
    page = visit(server.url, forgiven="net::ERR_")
    state = page.locator("#state")
    expect(state).to_have_text("running")
    expect(page.locator(".tile .verdict .text")).to_have_text("pass")
    server.process.kill()
    server.process.wait()
    expect(state).to_have_text(re.compile("no connection"))
    page.evaluate(MARK)
    again = dock(server.url.removeprefix("http://"))
    expect(state).to_have_text("running")
    expect(page.locator("#since")).to_contain_text("when the run went on")
    seq = post(again, part)
    expect(page.locator(".tile .frame")).to_have_text(f"frame {seq:,}")
    expect(page.locator("body[data-marked]")).to_have_count(1)


def test_a_connection_that_is_gone_without_a_word_is_made_anew(dock, part, visit):
    server = dock()
    post(server, part)
    cable = Cable(server.url)
    page = visit(cable.url, forgiven="net::ERR_")
    state = page.locator("#state")
    expect(state).to_have_text("running")
    cable.pull()
    expect(state).to_have_text(re.compile("no connection"))
    # A browser tries connections again that it kept.
    expect(state).to_have_text("running", timeout=60_000)
    seq = post(server, part)
    expect(page.locator(".tile .frame")).to_have_text(f"frame {seq:,}")


def test_a_page_that_is_seen_again_says_that_the_server_is_gone(dock, part, visit):
    server = dock()
    post(server, part)
    page = visit(server.url, forgiven="net::ERR_")
    state = page.locator("#state")
    expect(state).to_have_text("running")
    page.evaluate(SEE, False)
    server.process.kill()
    server.process.wait()
    page.evaluate(SEE, True)
    expect(state).to_have_text(re.compile("no connection"))
    again = dock(server.url.removeprefix("http://"))
    expect(state).to_have_text("running")
    seq = post(again, part)
    expect(page.locator(".tile .frame")).to_have_text(f"frame {seq:,}")


def test_a_page_that_is_seen_again_says_that_the_server_does_not_answer(dock, part, visit):
    server = dock()
    post(server, part)
    page = visit(server.url, forgiven="net::ERR_")
    state = page.locator("#state")
    expect(state).to_have_text("running")
    page.evaluate(SEE, False)
    page.route("**/api/v1/session", lambda route: None)
    page.evaluate(SEE, True)
    expect(state).to_have_text(re.compile("no connection"))


def test_a_reject_that_nobody_saw_is_not_said_to_be_new(dock, part, fitted, visit):
    server = dock()
    post(server, part)
    page = visit(server.url)
    tile, frame = page.locator(".tile"), page.locator(".tile .frame")
    expect(frame).to_have_text("frame 0")
    another_product = (fitted / "normal/fabric/0000.png").read_bytes()
    page.evaluate(SEE, False)
    post(server, another_product)
    page.wait_for_timeout(UNSEEN_MS)
    page.evaluate(SEE, True)
    expect(frame).to_have_text("frame 1")
    expect(page.locator(".tile .verdict .text")).to_have_text("REJECT")
    assert "has-rejected" not in tile.get_attribute("class")
    post(server, another_product)
    expect(tile).to_have_class(re.compile("has-rejected"))


def test_nothing_said_of_a_run_is_said_of_another_one_on_its_port(dock, part, visit):
    server = dock()
    post(server, part)
    page = visit(server.url, "review", forgiven="net::ERR_")
    page.locator("#review [name=which]").select_option("all")
    expect(page.locator("#review h3")).to_have_text("dock, frame 0")
    page.keyboard.press("N")
    expect(page.locator("#review .undo")).to_be_enabled()
    page.evaluate(MARK)
    server.process.kill()
    server.process.wait()
    other = dock(server.url.removeprefix("http://"), run="other")
    post(other, part)
    expect(page.locator("body[data-marked]")).to_have_count(0)
    expect(page.locator("#state")).to_have_text("running")
    page.locator("#review [name=which]").select_option("all")
    truth, undo = page.locator("#review .frame .truth"), page.locator("#review .undo")
    expect(truth).to_have_text("nobody said")
    expect(undo).to_be_disabled()
    page.keyboard.press("u")
    expect(page.locator("#since")).to_be_hidden()
    # What somebody else says can be taken back, after all of one's own.
    label = {"camera": "dock", "seq": 0, "truth": "anomalous"}
    other.tell("/api/v1/labels", label)
    expect(truth).to_have_text("● anomalous")
    page.keyboard.press("u")
    expect(truth).to_have_text("nobody said")
    expect(undo).to_be_disabled()
    other.until(lambda: not other.ask("/api/v1/verdicts?labelled=true")["verdicts"])
