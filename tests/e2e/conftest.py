"""A browser, the web UI as built from this tree, and platforms of real processes for it to show."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.bad_archives import archive
from tests.support.browser import MODES, QUIET, ROOT, Site, Visit
from tests.support.defects_images import IMAGE_DEFECTS, clean_set
from tests.support.platform import platform

STATIC = ROOT / "clients" / "tuneyard" / "web" / "static"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("REQUIRE_SERVERS=1: there is no chromium; run tests/e2e/install", pytrace=False)
        pytest.skip("there is no chromium; run tests/e2e/install")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built() -> None:
    """The web UI, built where it is missing."""
    if not (STATIC / "index.html").exists():
        subprocess.run(["bash", "scripts/webui"], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, built: None) -> Iterator[Site]:
    """Scripted trainers, which are fast, with a sound dataset and one with much to find."""
    with platform(tmp_path_factory.mktemp("site")) as started:
        started.upload_images()
        url = started.start_web()
        with httpx.Client(base_url=url, timeout=30) as http:
            yield Site(started, url, http)


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory, built: None) -> Iterator[Site]:
    """The real trainer of image classifiers."""
    root = tmp_path_factory.mktemp("vision")
    with platform(root, trainers={"vision": "tuneyard.vision"}) as started:
        url = started.start_web()
        with httpx.Client(base_url=url, timeout=30) as http:
            yield Site(started, url, http)


@pytest.fixture(scope="session")
def defective_images() -> bytes:
    """An image folder with one of nearly every defect."""
    files = clean_set()
    for defect in IMAGE_DEFECTS:
        defect.plant(files)
    return archive(files)


@pytest.fixture(params=["light"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(chromium: Browser, site: Site, mode: str) -> Iterator[Visit]:
    """A visit to the site of scripted trainers, in which nothing may go wrong unseen."""
    yield from _visit(chromium, site.url, mode)


@pytest.fixture
def vision_visit(chromium: Browser, vision: Site) -> Iterator[Visit]:
    yield from _visit(chromium, vision.url, "light")


def _visit(chromium: Browser, url: str, mode: str) -> Iterator[Visit]:
    context = chromium.new_context(**MODES[mode], reduced_motion="reduce")
    visit = Visit(context, url)
    yield visit
    context.close()
    assert visit.faults == []
