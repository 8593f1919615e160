"""Takes the README's pictures of the web UI: real small jobs, seen in a real browser, into docs/images.

    tests/e2e/install && .venv/bin/python scripts/screenshots.py

Starts a platform of its own, trains on scans of digits, and needs some minutes.
"""

import io
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sklearn.datasets import load_digits

from tests.support.browser import QUIET, wait_in
from tests.support.platform import eventually, platform

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images"
RATES = (1e-4, 3e-4, 1e-3)
MOST_BYTES = 80_000


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="tuneyard-pictures-") as folder,
        platform(Path(folder) / "platform", trainers={"vision": "tuneyard.vision"}) as running,
    ):
        running.upload_images("digits", digits())
        url = running.start_web()
        with httpx.Client(base_url=url, timeout=60) as http:
            finished = [train(http, rate) for rate in RATES]
            for job in finished:
                ended(http, job)
            active = [train(http, rate, epochs=40) for rate in (2e-3, 5e-4)]
        take(url, finished, active)
    return 0


def digits(count: int = 1600) -> bytes:
    """Scans of handwritten digits as an image folder, a fifth of them for validation."""
    data = load_digits()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for index, (pixels, label) in enumerate(zip(data.images[:count], data.target[:count], strict=True)):
            scan = Image.fromarray((255 - pixels * 15).astype("uint8")).resize((32, 32)).convert("RGB")
            encoded = io.BytesIO()
            scan.save(encoded, "PNG")
            split = "val" if index % 5 == 0 else "train"
            archive.writestr(f"{split}/{label}/{index:04}.png", encoded.getvalue())
    return content.getvalue()


def train(http: httpx.Client, rate: float, *, epochs: int = 5) -> str:
    """Starts a small classifier from random weights; returns its id."""
    spec = {
        "dataset": "datasets/digits",
        "baseModel": "resnet18",
        "imageClassifier": {"pretrained": False, "imageSize": 32},
        "hyperparameters": {"epochs": epochs, "batchSize": 32, "learningRate": rate},
    }
    name = f"digits-rate-{rate:g}"
    body = {"spec": spec, "labels": {"name": name}, "requestId": name}
    answer = http.post("/v1/jobs:train", json=body)
    answer.raise_for_status()
    return str(answer.json()["job"]["name"]).removeprefix("jobs/")


def job_of(http: httpx.Client, job: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v1/jobs/{job}").json()["job"]
    return found


def ended(http: httpx.Client, job: str) -> None:
    """Waits until a job has succeeded."""

    def state() -> str:
        return str(job_of(http, job)["state"])

    eventually(
        lambda: state().endswith(("SUCCEEDED", "FAILED", "CANCELLED")), within=900, what=f"the end of {job}"
    )
    if not state().endswith("SUCCEEDED"):
        raise SystemExit(f"{job} has not succeeded: {state()}")


def take(url: str, finished: list[str], active: list[str]) -> None:
    """Takes every picture: of jobs that are finished, and of one that runs and one that waits."""
    best = finished[-1]
    compared = "&".join(f"job={job}" for job in reversed(finished))
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, httpx.Client(base_url=url, timeout=60) as http:
        path = shutil.which("chromium") or "chromium-browser"
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        eventually(
            lambda: job_of(http, active[0]).get("progress", {}).get("fraction", 0) > 0.02,
            within=120,
            what=f"{active[0]} under way",
        )
        picture(browser, f"{url}/jobs", "jobs.png")
        for job in active:
            http.post(f"/v1/jobs/{job}:cancel", json={}).raise_for_status()
        picture(browser, f"{url}/jobs/{best}", "job.png")
        picture(browser, f"{url}/train?from={best}", "train.png")
        picture(browser, f"{url}/compare?{compared}", "compare-dark.png", dark=True)
        browser.close()


def picture(browser: Browser, url: str, name: str, *, dark: bool = False) -> None:
    """One page as a PNG of few colours."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if dark else "light",
        locale="en-US",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    settle(page)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    # The most different colours are kept, since a badge is small; kmeans makes the frequent ones exact.
    for colours in (256, 128, 64):
        few = shot.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        few.save(TARGET / name, optimize=True)
        if (TARGET / name).stat().st_size <= MOST_BYTES:
            break
    print(f"{name}: {(TARGET / name).stat().st_size / 1000:.0f} KB")


def settle(page: Page) -> None:
    """What the page fetches by itself has come."""
    page.locator("h1").wait_for()
    page.wait_for_timeout(2500)
    wait_in(page, "() => !document.querySelector('.skeleton, [aria-busy=true]')")


if __name__ == "__main__":
    sys.exit(main())
