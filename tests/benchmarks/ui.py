"""The web UI in a real browser: how soon a page can be used, and a job of 100,000 points with live events.

Needs chromium and the built UI (`tests/e2e/install`).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from tests.benchmarks.deployment import fake_platform
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings
from tests.support.browser import QUIET, Site, wait_in
from tests.support.platform import eventually

PAGES = ("/jobs", "/train", "/finetune", "/datasets", "/models", "/system")
_POINTS = 100_000
_QUICK_POINTS = 5_000
_STEP_MS = 100
"""After the points that are there already, so many milliseconds a step: ten events a second."""

# Milliseconds since the navigation began, once the page has its heading, all that it waited for, and a
# control that answers. System has none: there it is the facts, which come from the server too.
_USABLE = """
() => document.querySelector('h1')
    && !document.querySelector('main .skeleton')
    && document.querySelector('main button, main a, main input, main dl')
    && performance.now()
"""
# The same, once the panel of all points says its last value: it has been drawn from all of them.
_DRAWN = """
points => {
    const isIt = figure => figure.querySelector('h3').textContent === 'Probe'
    const plot = [...document.querySelectorAll('figure.chart')].find(isIt)?.querySelector('[role=img]')
    if (!plot?.querySelector('canvas')) return false
    const last = Number(plot.getAttribute('aria-label').match(/ ([0-9,]+)/)[1].replaceAll(',', ''))
    return last >= points * 0.99 && performance.now()
}
"""
_SCRIPTS = """
() => performance.getEntriesByType('resource')
    .filter(entry => entry.name.endsWith('.js'))
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)
"""
# The gaps between frames over some seconds, in milliseconds.
_FRAMES = """
seconds => new Promise(done => {
    const gaps = []
    let before = performance.now()
    const end = before + seconds * 1000
    const frame = now => {
        gaps.push(now - before)
        before = now
        if (now < end) requestAnimationFrame(frame)
        else done(gaps)
    }
    requestAnimationFrame(frame)
})
"""


def measure(settings: Settings) -> list[Row]:
    """First loads with an empty cache, then the long job."""
    with fake_platform(settings, "ui") as running:
        running.upload_images()
        url = running.start_web()
        with httpx.Client(base_url=url, timeout=60) as http, _chromium() as browser:
            site = Site(running, url, http)
            return [*_first_loads(settings, browser, site), *_long_job(settings, browser, site)]


@contextmanager
def _chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise RuntimeError("there is no chromium; run tests/e2e/install")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@contextmanager
def _opened(browser: Browser, url: str, *, height: int = 900) -> Iterator[Page]:
    """A page whose cache is empty."""
    context = browser.new_context(viewport={"width": 1440, "height": height}, locale="en-US")
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def _first_loads(settings: Settings, browser: Browser, site: Site) -> list[Row]:
    usable: list[float] = []
    sizes: dict[str, float] = {}
    for path in PAGES * settings.times(3, 1):
        with _opened(browser, site.url + path) as page:
            usable.append(wait_in(page, _USABLE) / 1000)
            page.wait_for_timeout(300)
            sizes[path] = page.evaluate(_SCRIPTS) / 1000
    largest = max(sizes, key=lambda path: sizes[path])
    return [
        Row(
            name="web UI: navigation to a page that can be used, median",
            unit="s",
            ours=median(usable),
            target=Target("ours", "<=", 1.0),
            guard=f"{len(usable)} loads of {len(PAGES)} pages, empty cache; worst {max(usable):.2f} s",
        ),
        Row(
            name="web UI: JavaScript of a first load, largest page",
            unit="KB",
            ours=sizes[largest],
            target=Target("ours", "<=", 200),
            guard=f"gzip as sent; {largest}",
        ),
    ]


def _long_job(settings: Settings, browser: Browser, site: Site) -> list[Row]:
    points = settings.times(_POINTS, _QUICK_POINTS)
    script = f"steps={points * 10},step_ms={_STEP_MS},hurry={points},probe=1"
    job = site.train(script, name="long")
    eventually(lambda: _step(site, job) >= points, within=300, what=f"{points} steps")
    opened: list[float] = []
    for _ in range(settings.times(5, 1)):
        with _opened(browser, f"{site.url}/jobs/{job}", height=1400) as page:
            opened.append(wait_in(page, _DRAWN, points) / 1000)
            size = page.evaluate(_SCRIPTS) / 1000
    with _opened(browser, f"{site.url}/jobs/{job}", height=1400) as page:
        wait_in(page, _DRAWN, points)
        before, seconds = _step(site, job), settings.times(15, 2)
        gaps: list[float] = page.evaluate(_FRAMES, seconds)[1:]
        rate = (_step(site, job) - before) / seconds
    return [
        Row(
            name=f"job page with {points:,} points: navigation to the drawn chart, median",
            unit="s",
            ours=median(opened),
            target=Target("ours", "<=", 1.5),
            guard=f"{len(opened)} loads, empty cache; worst {max(opened):.2f} s; {size:.0f} KB of JavaScript",
        ),
        Row(
            name="the same while events come in",
            unit="frames/s",
            ours=1000 * len(gaps) / sum(gaps),
            target=Target("ours", ">=", 30),
            guard=f"{rate:.1f} events/s; worst frame {max(gaps):.0f} ms",
            guard_held=rate >= 9 or settings.quick,
        ),
    ]


def _step(site: Site, job: str) -> int:
    progress = site.http.get(f"/v1/jobs/{job}").json()["job"].get("progress", {})
    return int(progress.get("step", 0))
