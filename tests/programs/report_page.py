"""Pages of `retryshim report`: made from events, taken apart as text, and opened in a Chromium without a window."""

import atexit
import contextlib
import datetime
import functools
import itertools
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

from harness import BUILD, need

COMMAND = BUILD / "retryshim"
BEGIN = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
REFUSED = {"category": "network", "severity": "medium", "error": "ECONNREFUSED", "message": "Connection refused"}
numbers = itertools.count(1)


def report(*arguments, stdin=None, check=0):
    """Runs it; the page, or what it says on standard error if it is to fail."""
    done = subprocess.run([COMMAND, "report", *arguments], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == check, (done.returncode, done.stderr)
    if check == 0:
        assert done.stderr == b""
        return done.stdout.decode()
    assert done.stdout == b""
    return done.stderr.decode()


def data(page):
    """(events, facts) as they stand in a page."""
    events = re.search(r'<script type="application/x-ndjson" id="events">\n(.*?)</script>', page, re.DOTALL)[1]
    facts = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.DOTALL)[1]
    return [json.loads(line) for line in events.splitlines()], json.loads(facts)


def operation(*happened, at=0, pid=100, program="curl", target="db:5432", name="connect", **more):
    """The events of one operation that began `at` ms after BEGIN. happened: (event, ms after that, attempt, its members)."""
    op = f"{next(numbers):016x}"
    told = []
    for event, elapsed, attempt, *members in happened:
        ts = (BEGIN + datetime.timedelta(milliseconds=at + elapsed)).isoformat(timespec="microseconds").replace("+00:00", "Z")
        error = {} if event == "succeeded" else REFUSED
        told.append({"ts": ts, "pid": pid, "program": program, "op": op, "operation": name, "target": target, "event": event,
                     "attempt": attempt, "max_attempts": 3, **error, "elapsed_ms": elapsed, **more,
                     **(members[0] if members else {})})
    return told


def recovered(failed=100, delay=1000, end=1150, **options):
    return operation(("attempt_failed", failed, 1, {"delay_ms": delay}), ("succeeded", end, 2), **options)


def exhausted(**options):
    return operation(("attempt_failed", 50, 1, {"delay_ms": 200}), ("attempt_failed", 300, 2, {"delay_ms": 400}),
                     ("exhausted", 750, 3), **options)


def given_up(reason="deadline", **options):
    return operation(("given_up", 30, 1, {"reason": reason}), **options)


def not_retryable(error="EACCES", **options):
    said = {"category": "permanent", "severity": "high", "error": error, "message": "Permission denied"}
    return operation(("not_retryable", 10, 1, said), **options)


def unfinished(**options):
    return operation(("attempt_failed", 20, 1, {"delay_ms": 5000}), **options)


def lines(*operations):
    return "".join(json.dumps(event) + "\n" for told in operations for event in told).encode()


# ---- in the browser --------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium():
    """A headless Chromium that logs what it says and what it loads."""
    with tempfile.TemporaryDirectory(prefix="chromium-") as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = need("chromium")
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={folder}"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(need("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


CONTRAST = """
const parse = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (node) => { for (; node; node = node.parentElement) {
  const colour = parse(getComputedStyle(node).backgroundColor);
  if (colour.length === 3 || colour[3] > 0) return colour;
} return [255, 255, 255]; };
return Array.from(document.querySelectorAll(arguments[0]), (node) => {
  const [a, b] = [parse(getComputedStyle(node).color), ground(node)].map(luminance).sort((x, y) => y - x);
  return [node.className + ": " + node.textContent, (a + 0.05) / (b + 0.05)];
});
"""


class Page:
    """One report in the browser. Everything is asked for as a reader would see it."""

    def __init__(self, driver, folder):
        self.driver = driver
        self.path = Path(folder, "report.html")

    def make(self, content, *arguments):
        self.path.write_text(report(*arguments, stdin=content), encoding="utf-8")
        return self.open()

    def open(self, address=""):
        self.driver.get("about:blank")  # else another hash would not load it anew
        self.driver.get(self.path.as_uri() + address)
        return self

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def each(self, selector, what):
        """A JavaScript expression of each `node`."""
        return self.js(f"return Array.from(document.querySelectorAll(arguments[0]), (node) => {what})", selector)

    def texts(self, selector):
        return self.each(selector, "node.textContent")

    def media(self, scheme, medium=""):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "media": medium, "features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def size(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def hash(self):
        """It is written 0.3 s after the last change."""
        time.sleep(0.4)
        return self.js("return location.hash")

    def tiles(self):
        """{label: value}."""
        return dict(zip(self.texts(".tile .label"), self.texts(".tile .value")))

    def rows(self):
        """The timeline's rows that are elements: [{column: text}], by their place."""
        return self.js("""return Array.from(document.querySelectorAll(".body .row"))
            .sort((a, b) => a.dataset.index - b.dataset.index)
            .map((row) => Object.fromEntries(Array.from(row.children, (cell) => [cell.className, cell.textContent])))""")

    def totals(self, which):
        """{name: [operations, retries, recovered, failed]} of by-target or by-error."""
        rows = self.each(f"#{which} tbody tr", "Array.from(node.children, (cell) => cell.textContent)")
        return {name: [int(count.replace(",", "")) for count in counts] for name, *counts in rows}

    def choose(self, facet, label):
        """In a select, by the option's text without its count."""
        self.js("""const select = document.getElementById(arguments[0]);
            const labels = Array.from(select.options, (option) => option.textContent.replace(/ \\([\\d,]+\\)$/, ""));
            select.selectedIndex = labels.indexOf(arguments[1]);
            select.dispatchEvent(new Event("change"));""", facet, label)

    def contrasts(self, selector):
        """[(what, ratio)] of texts and what is behind them."""
        found = self.js(CONTRAST, selector)
        assert found, selector
        return found

    def pointer(self):
        return ActionChains(self.driver, duration=20)  # ms for each move

    def keys(self, *keys):
        """To whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def active(self):
        """Place of the row that the grid's keys act on."""
        return int(self.find("#timeline .grid").get_attribute("aria-activedescendant").removeprefix("row-"))

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def loaded(self):
        """Addresses that were asked for, this page's own aside."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [message["params"]["request"]["url"] for message in messages
                 if message["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url.split("#")[0] != self.path.as_uri()]


@contextlib.contextmanager
def page_in(driver, folder):
    """A Page whose test fails if it has complained or loaded anything."""
    page = Page(driver, folder)
    page.media("light")
    page.size(1400, 1000)
    driver.get_log("browser"), driver.get_log("performance")
    yield page
    assert page.complaints() == []
    assert page.loaded() == []


# ---- for tests to import ---------------------------------------------------------------------------


@functools.cache
def shared_chromium():
    """One for all modules: a fixture that is imported is another one in each."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(chromium())


@pytest.fixture
def driver():
    return shared_chromium()


@pytest.fixture
def page(driver, tmp_path):
    with page_in(driver, tmp_path) as page:
        yield page


SECOND = 1000
# Seven operations of two programs, three targets and every outcome; one begins every ten seconds.
MIXED = [
    recovered(at=0, program="curl", target="db:5432"),
    recovered(at=10 * SECOND, program="curl", target="api:443", trace_id="4bf92f3577b34da6a3ce929d0e0e4736"),
    recovered(at=20 * SECOND, program="wget", target="api:443", failed=100, delay=4000, end=1600),
    exhausted(at=30 * SECOND, program="wget", target="db:5432"),
    given_up(at=40 * SECOND, program="curl", target="unix:/run/s", reason="budget"),
    not_retryable(at=50 * SECOND, program="curl", target="api:443"),
    unfinished(at=60 * SECOND, program="wget", target="db:5432"),
]
TILES = {"recovered": "3", "exhausted": "1", "given up": "1", "not retryable": "1", "unfinished": "1", "retries": "5",
         "waiting that paid off": "3.60 s", "waiting in vain": "700 ms", "saved by evidence": "≥ 2.50 s"}
