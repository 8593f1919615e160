"""Every command, request and file of the training guide, run in its order against real trainers.

Run: all Python, all shell commands. Their base models are stand-ins of random weights, imported under the
names that the guide uses (a small Llama as mistral-7b, a small pipeline as stable-diffusion-v1-5), and
the classifier is trained for 1 epoch, not 15; the detector, which is stopped, sees 64 px, not 640. Settings
in JSON are estimated by the trainer as parts of a request; JSONL lines are checked as a dataset; the label
lines and the data.yaml make the detector's dataset. Drawings of folders are not run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import httpx
import pytest
import requests
import torch
import torchvision
from ultralytics.nn.tasks import DetectionModel

from tests.support.guide_blocks import ENGLISH, Block, blocks
from tests.support.learnable_task import jsonl, learnable_task
from tests.support.platform import Platform, platform
from tests.support.shapes import draw_shapes
from tests.support.tiny_diffusion import tiny_pipeline
from tests.support.tiny_llm import tiny_llama
from tuneyard.client import Client, ConnectionSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
SHORTER = {'"epochs": 15': '"epochs": 1', '"image_size": 640': '"image_size": 64'}
TRAINERS = {family: f"tuneyard.{family}" for family in ("vision", "diffusion", "llm")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("guide")
    with platform(root / "platform", trainers=TRAINERS, extra={"TUNEYARD_OFFLINE": "true"}) as started:
        import_stand_ins(started, root / "models")
        yield started


def import_stand_ins(running: Platform, folder: Path) -> None:
    folder.mkdir()
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), folder / "resnet50.pth")
    torch.save({"model": DetectionModel("yolov8n.yaml", verbose=False)}, folder / "yolov8n.pt")
    tiny_llama(folder / "llama")
    tiny_pipeline(folder / "pipeline")
    with Client(ConnectionSettings(server=running.address)) as client:
        client.models.upload(folder / "resnet50.pth", family="vision", name="resnet50")
        client.models.upload(folder / "yolov8n.pt", family="vision", name="yolov8n")
        client.models.upload(folder / "llama", family="llm", name="mistral-7b")
        client.models.upload(folder / "pipeline", family="diffusion", name="stable-diffusion-v1-5")
        for name in ("resnet50", "yolov8n", "mistral-7b", "stable-diffusion-v1-5"):
            client.models.wait_ready(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide's reader has at hand: images, boxes, tickets, a photo."""
    folder = tmp_path_factory.mktemp("reader")
    drawn = (draw_shapes(seed)[0] for seed in range(100))
    for split, count in (("train", 8), ("val", 2)):
        for label in ("cat", "dog"):
            (folder / "my_images" / split / label).mkdir(parents=True)
            for number in range(count):
                next(drawn).save(folder / "my_images" / split / label / f"{number:03}.jpg")
        for kind in ("images", "labels"):
            (folder / "my_objects" / kind / split).mkdir(parents=True)
        for number in range(2 * count):
            next(drawn).save(folder / "my_objects" / "images" / split / f"img{number:03}.jpg")
            labels = next(block.content for block in blocks(ENGLISH) if block.content.startswith("0 "))
            (folder / "my_objects" / "labels" / split / f"img{number:03}.txt").write_text(labels)
    (described,) = (block.content for block in blocks(ENGLISH) if block.language == "yaml")
    (folder / "my_objects" / "data.yaml").write_text(described)
    (folder / "my_dog").mkdir()
    for number in range(1, 7):
        next(drawn).save(folder / "my_dog" / f"{number}.jpg")
        (folder / "my_dog" / f"{number}.txt").write_text(f"a photo of sks dog number {number}")
    (folder / "tickets.jsonl").write_bytes(jsonl(learnable_task(80).train))
    next(drawn).save(folder / "photo.jpg")
    return folder


class Reader:
    """Somebody who follows the guide word by word, in one folder."""

    def __init__(self, running: Platform, folder: Path) -> None:
        self.web = running.start_web().removeprefix("http://")
        self.server = running.address
        self.folder = folder
        self.names: dict[str, Any] = {}

    def follow(self, block: Block) -> None:
        match block.language:
            case "python":
                self.execute(compile(self.addressed(block), f"guide, line {block.line}", "exec"))
            case "sh":
                self.run(self.addressed(block))
            case "json":
                self.estimate(json.loads(block.content))
            case "jsonl":
                (self.folder / "lines.jsonl").write_text(block.content)
                self.run("tuneyard datasets check lines.jsonl --format jsonl")
            case other:
                assert other in ("yaml", "text"), f"line {block.line}: {other!r} is not looked at"

    def addressed(self, block: Block) -> str:
        text = block.content.replace("localhost:8000", self.web)
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        return text

    def execute(self, code: CodeType) -> None:
        try:
            exec(code, self.names)
        except requests.HTTPError as error:
            pytest.fail(f"{error}: {error.response.text}")

    def run(self, commands: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ids = {name.upper(): value for name, value in self.names.items() if name.endswith("task_id")}
        told = {"PATH": path, "TUNEYARD_SERVER": self.server, **ids}
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=os.environ | told,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, f"{commands}\n{ran.stdout}\n{ran.stderr}"

    def estimate(self, settings: dict[str, Any]) -> None:
        of_images = "resolution" in settings
        asked = {
            "model_type": "text_to_image" if of_images else "llm",
            "base_model": "stable-diffusion-v1-5" if of_images else "mistral-7b",
            "dataset_path": "my_dog" if of_images else "tickets",
            **settings,
        }
        answer = httpx.post(f"http://{self.web}/api/training/estimate", json=asked, timeout=60).json()
        assert answer["fits"], answer
        assert not answer.get("violations"), answer


def test_every_block_does_what_the_guide_says(
    running: Platform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    reader = Reader(running, folder)
    with Client(ConnectionSettings(server=running.address)) as client:
        client.datasets.upload(folder / "tickets.jsonl", format="jsonl", name="tickets")
        client.datasets.wait_ready("tickets")
    for block in blocks(ENGLISH):
        reader.follow(block)
    assert reader.names["task"]["status"] == "completed"
    assert {"adapter.zip", "classifier.zip", "my_dog_lora.zip"} <= {each.name for each in folder.iterdir()}
    merged = running_model(running, "models/merged")
    assert merged.architecture == "LlamaForCausalLM"


def running_model(running: Platform, name: str) -> Any:
    with Client(ConnectionSettings(server=running.address)) as client:
        return client.models.wait_ready(name)
