"""The command line against real processes: `tuneyard up`, a training job, and what happens when parts die."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from tests.support.platform import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

READY_SECONDS = 120


@dataclass
class Up:
    """A running `tuneyard up`, and commands run against it."""

    process: "subprocess.Popen[str]"
    announced: Any
    log: Path

    @property
    def server(self) -> str:
        return str(self.announced["gateway"])

    def run(self, *arguments: object, code: int = 0) -> str:
        """Runs a command, which must end with `code`; returns its standard output."""
        ran = subprocess.run(
            [sys.executable, "-m", "tuneyard.cli", *map(str, arguments), "--server", self.server],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == code, ran.stderr + ran.stdout
        return ran.stdout

    def child(self, module: str) -> psutil.Process:
        """The process of a service."""
        for child in psutil.Process(self.process.pid).children():
            if child.cmdline()[-1:] == [module]:
                return child
        raise LookupError(module)


def _start(folder: Path) -> Up:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
    command = [sys.executable, "-m", "tuneyard.cli", "up", "--json", "--ports", "auto", "--devices", "cpu"]
    log = folder / "up.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--trainers", "vision", "--data-dir", str(folder / "data")],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    return Up(process, json.loads(line), log)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = _start(tmp_path_factory.mktemp("up"))
    yield started
    started.process.send_signal(signal.SIGTERM)
    started.process.wait(10)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "shades.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", 8), ("val", 4)):
            for label in (0, 1):
                for number in range(count):
                    content = io.BytesIO()
                    shade = label * 128 + number * 7 + (64 if split == "val" else 0)
                    Image.new("RGB", (32, 32), (shade, number, 0)).save(content, "PNG")
                    archive.writestr(f"{split}/{label}/{number}.png", content.getvalue())
    return path


def test_up_announces_what_is_ready(up: Up) -> None:
    (trainer,) = up.announced["trainers"]
    assert (trainer["family"], trainer["health"]) == ("FAMILY_VISION", "TRAINER_HEALTH_READY")
    assert json.loads(up.run("trainers", "--json"))["trainers"][0]["address"] == trainer["address"]


def test_a_job_is_trained_watched_and_downloaded(up: Up, dataset: Path, tmp_path: Path) -> None:
    trained = up.run(
        *("train", "image-classifier", "--dataset", dataset, "--base-model", "squeezenet1_1"),
        *("--no-pretrained", "--image-size", 32, "--epochs", 2, "--batch-size", 8, "--json"),
    )
    *events, job = [json.loads(line) for line in trained.splitlines()]
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    watched = [json.loads(line) for line in up.run("watch", job["name"], "--json").splitlines()]
    assert watched == events
    files = json.loads(up.run("artifacts", "download", job["name"], "-o", tmp_path, "--json"))["files"]
    assert str(tmp_path / "model.safetensors") in files
    assert (tmp_path / "model.safetensors").stat().st_size > 0


def test_a_spec_that_breaks_rules_is_refused_by_field(up: Up) -> None:
    refused = up.run(
        *("train", "image-classifier", "--dataset", "none", "--base-model", "resnet18"),
        *("--learning-rate", 0, "--epochs", 0, "--json"),
        code=2,
    )
    fields = {violation["field"] for violation in json.loads(refused)["error"]["violations"]}
    assert {"spec.hyperparameters.learning_rate", "spec.hyperparameters.epochs"} <= fields


def test_what_is_killed_is_started_again(up: Up) -> None:
    for module in ("tuneyard.gateway", "tuneyard.vision"):
        before = up.child(module).pid
        up.child(module).kill()
        eventually(lambda m=module, b=before: _replaced(up, m, b), within=30, what=f"{module} is back")

    def ready() -> bool:
        listed = subprocess.run(
            [sys.executable, "-m", "tuneyard.cli", "trainers", "--json", "--server", up.server],
            capture_output=True,
            text=True,
            check=False,
        )
        return listed.returncode == 0 and "TRAINER_HEALTH_READY" in listed.stdout

    eventually(ready, within=READY_SECONDS, what="the trainer is ready again")


def _replaced(up: Up, module: str, before: int) -> bool:
    try:
        return up.child(module).pid != before
    except (LookupError, psutil.Error, IndexError):
        return False


def _is_at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_the_end(tmp_path: Path, number: signal.Signals) -> None:
    up = _start(tmp_path)
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 3
    up.process.send_signal(number)
    code = up.process.wait(60)
    eventually(lambda: not any(map(_is_at_work, family)), within=60, what="the end of all")
    assert code == (-number if number is signal.SIGKILL else 0)


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as listener:
        # Where the port is taken by somebody else, that serves as well.
        with suppress(OSError):
            listener.bind(("127.0.0.1", 50051))
            listener.listen()
        ran = subprocess.run(
            [sys.executable, "-m", "tuneyard.cli", "up", "--data-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert "50051 (gateway)" in ran.stderr
    assert "--ports auto" in ran.stderr
