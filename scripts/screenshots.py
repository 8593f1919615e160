"""Takes the README's pictures of the web UI: real small jobs, seen in a real browser, into docs/images.

    tests/e2e/install && .venv/bin/python scripts/screenshots.py [--url URL]

Starts a platform of its own, trains on scans of digits, and needs some minutes. With `--url` it looks at one
that is running and has those jobs.
"""

import argparse
import io
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sklearn.datasets import load_digits

from tests.support.browser import QUIET, wait_in
from tests.support.platform import eventually, platform

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images"
RATES = (1e-3, 3e-3, 1e-4)
MOST_BYTES = 80_000


def main() -> int:
    parser = argparse.ArgumentParser(description="Takes the README's pictures of the web UI.")
    parser.add_argument("--url", help="a platform that has the jobs already")
    options = parser.parse_args()
    if options.url:
        take(options.url)
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="tuneyard-pictures-") as folder,
        platform(Path(folder) / "platform", trainers={"vision": "tuneyard.vision"}) as running,
    ):
        running.upload_images("digits", digits())
        url = running.start_web()
        with httpx.Client(base_url=url, timeout=60) as http:
            for rate in RATES:
                ended(http, train(http, rate))
        take(url)
    return 0


def digits(count: int = 600) -> bytes:
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


def train(http: httpx.Client, rate: float) -> str:
    """Starts a small classifier from random weights; returns its name."""
    spec = {
        "dataset": "datasets/digits",
        "baseModel": "resnet18",
        "imageClassifier": {"pretrained": False, "imageSize": 32},
        "hyperparameters": {"epochs": 4, "batchSize": 16, "learningRate": rate, "evalSteps": "15"},
    }
    name = f"digits-rate-{rate:g}"
    body = {"spec": spec, "labels": {"name": name}, "requestId": name}
    answer = http.post("/v1/jobs:train", json=body)
    answer.raise_for_status()
    return str(answer.json()["job"]["name"])


def ended(http: httpx.Client, job: str) -> None:
    """Waits until a job has succeeded."""

    def state() -> str:
        return str(http.get(f"/v1/{job}").json()["job"]["state"])

    eventually(
        lambda: state().endswith(("SUCCEEDED", "FAILED", "CANCELLED")), within=900, what=f"the end of {job}"
    )
    if not state().endswith("SUCCEEDED"):
        raise SystemExit(f"{job} has not succeeded: {state()}")


def take(url: str) -> None:
    """Takes every picture."""
    jobs = httpx.get(f"{url}/v1/jobs?pageSize=100").json()["jobs"]
    ids = [job["name"].removeprefix("jobs/") for job in jobs if job["state"] == "JOB_STATE_SUCCEEDED"]
    best, others = ids[-1], ids[:-1]
    compared = "&".join(f"job={each}" for each in [best, *others])
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or "chromium-browser"
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        picture(browser, f"{url}/train?dataset=digits", "train.png")
        picture(browser, f"{url}/jobs/{best}", "job.png")
        picture(browser, f"{url}/compare?{compared}", "compare-dark.png", dark=True)
        picture(browser, f"{url}/jobs/{best}", "job-phone.png", phone=True)
        browser.close()


def picture(browser: Browser, url: str, name: str, *, dark: bool = False, phone: bool = False) -> None:
    """One page as a PNG of few colours."""
    context = browser.new_context(
        viewport={"width": 390, "height": 780} if phone else {"width": 1280, "height": 800},
        color_scheme="dark" if dark else "light",
        locale="en-US",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    settle(page)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    for colours in (128, 64, 32):
        shot.quantize(colours, dither=Image.Dither.NONE).save(TARGET / name, optimize=True)
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
