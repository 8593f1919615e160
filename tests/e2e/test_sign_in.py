"""A web server that asks for its token, as seen with a browser: signing in, going on, and signing out."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import MODES, PATIENCE_MS, SCREENSHOTS, Site, Visit, serious_issues, wait_in
from tests.support.platform import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

TOKEN = "open sesame; twice"


@pytest.fixture(scope="module")
def guarded(site: Site) -> str:
    """The address of a web server that other machines can reach."""
    listen = f"0.0.0.0:{free_port()}"
    url = site.platform.start_web(
        TUNEYARD_WEB_LISTEN=listen, TUNEYARD_WEB_HOSTS="localhost", TUNEYARD_TOKEN=TOKEN
    )
    return url.replace("0.0.0.0", "localhost")


@pytest.fixture
def stranger(chromium: Browser, guarded: str, mode: str) -> Iterator[Visit]:
    """A browser that has not told the token."""
    context = chromium.new_context(**MODES[mode], reduced_motion="reduce")
    visit = Visit(context, guarded)
    yield visit
    context.close()
    assert visit.faults == []


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Token", exact=True).fill(token)
    page.keyboard.press("Enter")


def chart_moves(page: Page) -> None:
    page.wait_for_selector("figure.chart [role=img]", timeout=PATIENCE_MS)
    told = "document.querySelector('figure.chart [role=img]').getAttribute('aria-label')"
    wait_in(page, f"before => {told} !== before", page.evaluate(told))


def test_one_signs_in_where_one_came_and_everything_works(site: Site, stranger: Visit) -> None:
    job = site.train("steps=100000,step_ms=50,save=20", name="behind-the-token")
    page = stranger.open(f"/jobs/{job}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    sign_in(page, "guessed")
    field = page.get_by_label("Token", exact=True)
    expect(page.get_by_role("alert")).to_have_text("This is not the server's token.")
    expect(field).to_have_attribute("aria-invalid", "true")
    sign_in(page)
    expect(page.locator("header .badge")).to_have_text("Running", timeout=PATIENCE_MS)
    assert page.url.endswith(f"/jobs/{job}")
    chart_moves(page)
    assert page.evaluate("document.cookie") == ""
    page.reload()
    chart_moves(page)
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    expect(page.locator("header .badge")).to_have_text("Cancelled", timeout=PATIENCE_MS)
    socket = (
        "new Promise(r => { const s = new WebSocket(location.origin.replace('http', 'ws') + '/ws/training');"
    )
    assert page.evaluate(f"{socket} s.onopen = () => r('open'); s.onerror = () => r('shut') }})") == "open"


def test_a_download_works_once_signed_in(site: Site, stranger: Visit) -> None:
    job = site.train("steps=20,step_ms=5,save=10", name="downloaded")
    assert site.ended(job) == "JOB_STATE_SUCCEEDED"
    page = stranger.open(f"/jobs/{job}/artifacts")
    sign_in(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all (ZIP)").click()
    assert download.value.path().stat().st_size > 0


def test_signing_out_ends_all_tabs_and_signing_in_opens_them(stranger: Visit) -> None:
    first = stranger.open("/jobs")
    sign_in(first)
    expect(first.get_by_role("heading", level=1)).to_have_text("Jobs")
    second = stranger.open("/system")
    expect(second.get_by_role("heading", level=1)).to_have_text("System")
    first.get_by_role("button", name="Sign out").click()
    for page in (first, second):
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in", timeout=PATIENCE_MS)
    sign_in(second)
    expect(second.get_by_role("heading", level=1)).to_have_text("System")
    expect(first.get_by_role("heading", level=1)).to_have_text("Jobs")


@pytest.mark.parametrize("mode", ["light", "phone"], indirect=True)
def test_where_a_session_ends_what_was_typed_stays_and_goes_on(stranger: Visit, mode: str) -> None:
    page = stranger.open("/models?import")
    sign_in(page)
    page.get_by_role("radio", name="On a hub or the server").check(force=True)
    page.get_by_label("Hub id").fill("/nowhere/at all")
    stranger.context.clear_cookies()
    page.get_by_role("button", name="Start import").click()
    dialog = page.get_by_role("dialog", name="Sign in again")
    expect(dialog).to_be_visible(timeout=PATIENCE_MS)
    assert serious_issues(page) == []
    page.screenshot(path=SCREENSHOTS / f"sign-in-again-{mode}.png")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    sign_in(page)
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text(re.compile("allowed|import", re.IGNORECASE))
    expect(page.get_by_label("Hub id")).to_have_value("/nowhere/at all")


@pytest.mark.parametrize("mode", list(MODES), indirect=True)
def test_the_page_that_asks_for_the_token_is_whole(stranger: Visit, mode: str) -> None:
    page = stranger.open("/models")
    page.locator("input[type=password]").wait_for()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"sign-in-{mode}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert serious_issues(page) == []


def test_who_needs_no_token_is_not_asked_to_sign_out(visit: Visit) -> None:
    page = visit.open("/jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    assert page.get_by_role("button", name="Sign out").count() == 0
