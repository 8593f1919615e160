"""What the browser's tests share: a platform seen through its web server, and visits to it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Page

from tests.support.platform import Platform, eventually, fake_spec
from tuneyard.v1 import training_service_pb2

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "clients" / "webui" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE_MS = 30_000
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Chromium's arguments: it speaks to nobody but the pages."""


@dataclass
class Site:
    """A platform with its web server."""

    platform: Platform
    url: str
    http: httpx.Client
    jobs: dict[str, str] = field(default_factory=dict)
    """Ids by what the jobs are for."""

    def train(self, script: str, *, name: str) -> str:
        """Starts a scripted job; returns its id."""
        request = training_service_pb2.TrainRequest(
            spec=fake_spec(script), request_id=name, labels={"name": name}
        )
        job = self.platform.call(
            lambda channel: self.platform.training(channel).Train(request, timeout=10)
        ).job
        self.jobs[name] = job.name.removeprefix("jobs/")
        return self.jobs[name]

    def upload(self, name: str, content: bytes, *, format: str) -> None:
        """Brings a dataset here and waits until it is judged."""
        body = {"datasetId": name, "format": format, "sizeBytes": str(len(content)), "requestId": name}
        self.http.post("/v1/datasets", json=body).raise_for_status()
        self.http.put(f"/v1/datasets/{name}:upload", content=content).raise_for_status()
        eventually(
            lambda: (
                self.http.get(f"/v1/datasets/{name}").json()["dataset"]["state"]
                in ("DATASET_STATE_READY", "DATASET_STATE_INVALID")
            ),
            within=60,
            what=f"the check of {name}",
        )

    def losses(self, job: str) -> list[str]:
        """The steps at which the server has a training loss."""
        columns = self.http.get(f"/v1/jobs/{job}/metrics").json()["columns"]
        return next(column["steps"] for column in columns if column["name"] == "train/loss")

    def ended(self, job: str) -> str:
        """Waits for a job's end; returns its state."""
        told: dict[str, Any] = {}

        def look() -> bool:
            told.update(self.http.get(f"/v1/jobs/{job}").json()["job"])
            return str(told["state"]).endswith(("SUCCEEDED", "FAILED", "CANCELLED"))

        eventually(look, within=90, what=f"the end of {job}")
        return str(told["state"])


class Visit:
    """A browser's visit: pages of it, and everything that went wrong in them."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.faults: list[str] = []

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.goto(self.url + path)
        return page

    def _hear(self, kind: str, text: str) -> None:
        # A server that is away for a moment is told by the browser too.
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(text)


def wait_in(page: Page, condition: str, arg: object = None, *, within_ms: int = PATIENCE_MS) -> Any:
    """The first true answer of a function of the page, looked for at each frame.

    Playwright's wait_for_function evaluates text again and again, which the pages' content policy forbids.
    """
    waiting = """async ([arg, within]) => {
        const condition = %s
        const end = performance.now() + within
        for (;;) {
            const found = await condition(arg)
            if (found) return found
            if (performance.now() > end) throw new Error(`not within ${within} ms`)
            await new Promise(requestAnimationFrame)
        }
    }"""
    return page.evaluate(waiting % condition, [arg, within_ms])


MODES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", "locale": "en-US"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark", "locale": "en-US"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "locale": "en-US",
        "has_touch": True,
    },
    "zh": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", "locale": "zh-CN"},
}


def serious_issues(page: Page) -> list[str]:
    """What axe finds on a page that keeps people from using it."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']}: {json.dumps([node['html'][:160] for node in each['nodes'][:3]])}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
