"""Every page in light, dark, on a phone and in Chinese: screenshots, and no serious issue."""

import re

import pytest
from _pytest.mark import ParameterSet
from playwright.sync_api import Page

from tests.support.browser import MODES, SCREENSHOTS, Site, Visit, serious_issues, wait_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def furnished(site: Site, defective_images: bytes) -> Site:
    """A site with a finished, a failed and a running job, and datasets of each verdict."""
    site.ended(site.train("steps=300,step_ms=5,save=100,eval=50,sample=50,log=1", name="digits-resnet18"))
    site.ended(site.train("steps=200,step_ms=5,eval=50", name="digits-resnet50"))
    site.ended(site.train("steps=60,step_ms=5,fail_at=30", name="broken-run"))
    site.upload("pets", defective_images, format="DATASET_FORMAT_IMAGE_FOLDER")
    lines = "".join(f'{{"instruction": "What is {n}?", "response": "It is {n}."}}\n' for n in range(60))
    content = lines.encode() + b'{"instruction": "x"\n'
    site.upload("questions", content, format="DATASET_FORMAT_JSONL")
    site.upload("torn", b"no archive" * 9, format="DATASET_FORMAT_IMAGE_FOLDER")
    site.train("steps=100000,step_ms=40,save=500", name="long-run")
    site.train("steps=100,step_ms=5", name="waiting")
    return site


PAGES = {
    "train": "/train",
    "finetune": "/finetune",
    "jobs": "/jobs",
    "job": "/jobs/{digits-resnet18}",
    "job-running": "/jobs/{long-run}",
    "job-failed": "/jobs/{broken-run}",
    "job-log": "/jobs/{digits-resnet18}/log",
    "job-settings": "/jobs/{digits-resnet18}/settings",
    "job-artifacts": "/jobs/{digits-resnet18}/artifacts",
    "job-samples": "/jobs/{digits-resnet18}/samples",
    "job-queued": "/jobs/{waiting}",
    "compare": "/compare?job={digits-resnet18}&job={digits-resnet50}",
    "datasets": "/datasets",
    "datasets-add": "/datasets?add",
    "dataset": "/datasets/pets?code=DUPLICATE_ACROSS_SPLITS",
    "dataset-lines": "/datasets/questions?code=LINE_NOT_JSON",
    "dataset-torn": "/datasets/torn",
    "models": "/models",
    "models-import": "/models?import",
    "system": "/system",
    "nowhere": "/nowhere",
}


def looks() -> list[ParameterSet]:
    """Every page in every mode. One mode of each page, in turn, belongs to the quick run: all occur."""
    modes = list(MODES)
    return [
        pytest.param(name, mode, marks=() if modes[index % len(modes)] == mode else pytest.mark.at_length)
        for index, name in enumerate(PAGES)
        for mode in modes
    ]


@pytest.mark.parametrize(("name", "mode"), looks(), indirect=["mode"])
def test_a_page_is_whole(furnished: Site, visit: Visit, mode: str, name: str) -> None:
    path = re.sub(r"\{(.+?)\}", lambda match: furnished.jobs[match[1]], PAGES[name])
    page = visit.open(path)
    settled(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{mode}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator("h1").count() == 1
    assert not re.search(r"undefined|NaN|\[object", page.locator("body").inner_text())
    assert serious_issues(page) == []


def settled(page: Page) -> None:
    """The page has its heading, its fetches are done, and no skeleton is left."""
    page.locator("h1").wait_for(state="attached")
    wait_in(page, "() => !document.querySelector('.skeleton')")
    wait_in(page, "() => document.fonts.ready.then(() => true)")
    wait_in(
        page,
        "() => [...document.images].filter(i => i.loading !== 'lazy').every(i => i.complete)",
    )
    # Live streams never end, so the network is never idle: what a page fetches shows in the count of fetches.
    page.evaluate(
        """() => new Promise(done => {
            let last = -1, same = 0
            const look = () => {
                const now = performance.getEntriesByType('resource').length
                same = now === last ? same + 1 : 0
                last = now
                if (same >= 6) done(); else setTimeout(look, 50)
            }
            look()
        })"""
    )
