"""A browser, and runs for it to look at."""

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

DESKTOP = {"width": 1280, "height": 720}
TABLET = {"width": 820, "height": 1180}
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# How far what is seen moved without anybody having touched anything, and which elements did.
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    if (!hadRecentInput) window.shifts.push({ value, moved: sources.map(({ node }) => node?.cloneNode(false).outerHTML ?? node?.data) });
  }
}).observe({ type: "layout-shift", buffered: true });
"""
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
CAMERAS = ["fabric", "metal", "labels"]
# The share of the window that may move by itself. 0.1 counts as good.
SHIFT_MAX = 0.02
# The machine may be busy.
PATIENCE_S = 120
expect.set_options(timeout=20_000)


def pytest_addoption(parser):
    parser.addoption("--intakt", type=Path, required=True, help="the program")
    parser.addoption("--demo", type=Path, required=True, help="what `intakt demo` left behind: detectors and images")
    parser.addoption("--chromium", required=True, help="the browser")
    parser.addoption("--shots", type=Path, required=True, help="where pictures of the page are left")
    parser.addoption("--page", type=Path, help="files to take in place of the page that is in the program")


class Server:
    """`intakt …` that serves a run."""

    def __init__(self, program, *arguments, said, listen="127.0.0.1:0"):
        command = [program, *arguments, "--listen", listen]
        with said.open("w") as stderr:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        self.said = said
        self.url = self.until(lambda: re.search(r"listening on (http://\S+)", said.read_text()))[1]
        self.until(self.is_ready)

    def until(self, found):
        given_up_at = time.monotonic() + PATIENCE_S
        while not (it := found()):
            assert self.process.poll() is None and time.monotonic() < given_up_at, self.said.read_text()
            time.sleep(0.1)
        return it

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.ask("/ready")

    def ask(self, path, body=None):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body), timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if answer.headers.get_content_type() == "application/json" else text or True

    def tell(self, path, body):
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        urllib.request.urlopen(asked, timeout=30).close()

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def program(pytestconfig):
    return pytestconfig.getoption("intakt").resolve()


@pytest.fixture(scope="session")
def fitted(pytestconfig):
    return pytestconfig.getoption("demo").resolve()


@pytest.fixture(scope="session")
def demo(program, tmp_path_factory):
    """The demo's line, which goes on."""
    place = tmp_path_factory.mktemp("demo")
    server = Server(program, "demo", "--serve", "--out", place / "out", "--run", place / "run", said=place / "said")
    yield server
    server.end()


@pytest.fixture(scope="session")
def ended(program, fitted, tmp_path_factory):
    """The same line in a run that has ended, with labels on some of what it rejected, and beside it its replay by another threshold."""
    place = tmp_path_factory.mktemp("ended")
    cameras = "".join(
        f'[[camera]]\nname = "{name}"\nsource = "synthetic"\nscene = "{name}"\nframes = 70\n'
        f'detector = "{fitted}/{name}.intakt"\n'
        for name in CAMERAS
    )
    (place / "line.toml").write_text(f'[rates]\nwindows = ["2s", "10s", "1m"]\n{cameras}')
    for arguments in (
        ["inspect", "line.toml", "--run", "monday", "--record", "recording"],
        ["replay", "recording", "--threshold", "40", "--run", "laxer"],
    ):
        ran = subprocess.run([program, *arguments], check=False, cwd=place, capture_output=True, text=True)
        assert ran.returncode in (0, 1), ran.stderr
    server = Server(program, "serve", place / "monday", "--compare", place / "laxer", said=place / "said")
    server.place = place
    rejected = server.ask("/api/v1/verdicts?decision=reject&limit=12")["verdicts"]
    truths = ["anomalous:scratch", "anomalous", "anomalous", "normal"]
    for at, verdict in enumerate(rejected):
        label = {"camera": verdict["camera"], "seq": verdict["seq"], "truth": truths[at % 4]}
        server.tell("/api/v1/labels", label)
    yield server
    server.end()


@pytest.fixture(scope="session")
def browser(pytestconfig):
    with sync_playwright() as playwright:
        chromium = pytestconfig.getoption("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()


def replace_page(context, directory):
    def answer(route):
        name = route.request.url.rsplit("/")[-1].partition("#")[0] or "index.html"
        route.fulfill(response=route.fetch(), path=directory / name)

    context.route(re.compile(r"^http://[^/]+/(assets/\S+)?(#.*)?$"), answer)


@contextlib.contextmanager
def visiting(browser, directory, url, view, scheme, size, forgiven):
    context = browser.new_context(viewport=size, color_scheme=scheme)
    if directory:
        replace_page(context, directory)
    page = context.new_page()
    troubles = []

    def heard(message):
        if message.type in ("error", "warning") and not (forgiven and re.search(forgiven, message.text)):
            troubles.append(f"{message.type}: {message.text} {message.location['url']}")

    def asked(request):
        if not request.url.startswith(f"{url}/"):
            troubles.append(f"a request left: {request.url}")

    page.on("console", heard)
    page.on("pageerror", lambda error: troubles.append(f"thrown: {error}"))
    page.on("request", asked)
    page.add_init_script(SHIFTS)
    page.goto(f"{url}/#/{view}")
    yield page
    # What a test answers itself may be on its way.
    for routed in (page, context):
        routed.unroute_all(behavior="ignoreErrors")
    context.close()
    assert not troubles


@pytest.fixture
def visit(browser, pytestconfig):
    """Opens the page; at the end of the test nothing may have been said on its console, and no request have left its origin."""
    with contextlib.ExitStack() as visits:

        def open_page(url, view="line", scheme="light", size=DESKTOP, forgiven=None):
            return visits.enter_context(
                visiting(browser, pytestconfig.getoption("page"), url, view, scheme, size, forgiven)
            )

        yield open_page


def violations(page):
    """What keeps some people from reading the page."""
    found = Axe().run(page, options=WCAG).response["violations"]
    return [f"{of['impact']} {of['id']}: {[node['html'] for node in of['nodes']]}" for of in found]


def barely_moved(page):
    """The share of the window that moved by itself, which may not be much."""
    shifts = page.evaluate("window.shifts")
    share = sum(shift["value"] for shift in shifts)
    assert share <= SHIFT_MAX, shifts
    return share
