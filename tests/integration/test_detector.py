"""The object detector through the whole platform: it learns, and a cancel leaves nothing."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.support.platform import Platform, eventually
from tests.support.shapes import CLASSES, Drawing, write_shapes
from tuneyard.client import Client, ConnectionSettings
from tuneyard.v1 import dataset_pb2, job_pb2, training_pb2
from tuneyard.vision.detector_predictor import Detector

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def shapes(
    vision: Platform, tmp_path_factory: pytest.TempPathFactory, *, train: int, val: int, side: int
) -> str:
    root = tmp_path_factory.mktemp("shapes") / "set"
    write_shapes(root, train=train, val=val, drawing=Drawing(size=(side, side)))
    with Client(ConnectionSettings(server=vision.address)) as client:
        name = client.datasets.upload(root, format=dataset_pb2.DATASET_FORMAT_YOLO).name
        return client.datasets.wait_ready(name).name


@pytest.fixture(scope="module")
def few(vision: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    return shapes(vision, tmp_path_factory, train=24, val=6, side=64)


def spec(dataset: str, *, image_size: int = 64, **settings: object) -> training_pb2.TrainingSpec:
    values: dict[str, object] = {"batch_size": 8, "learning_rate": 2e-3, **settings}
    return training_pb2.TrainingSpec(
        dataset=dataset,
        base_model="yolov8n.pt",
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(**values),  # type: ignore[arg-type]
        object_detector=training_pb2.ObjectDetector(
            pretrained=False, image_size=image_size, close_mosaic_epochs=2
        ),
    )


def test_a_cancel_leaves_no_checkpoint_and_no_worker(vision: Platform, few: str) -> None:
    job = vision.train(spec(few, max_steps=500))
    watcher = vision.watch(job.name)
    watcher.at_step(1, within=120)
    vision.cancel(job.name)
    watcher.wait(within=30)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_CANCELLED
    eventually(lambda: not vision.workers(), within=20, what="no worker left")


def test_a_detector_from_scratch_learns_the_shapes(
    vision: Platform, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    dataset = shapes(vision, tmp_path_factory, train=304, val=60, side=96)
    job = vision.train(spec(dataset, image_size=96, epochs=8, batch_size=16))
    events = vision.watch(job.name).wait(within=500)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job.name).error
    result = next(e.result for e in events if e.HasField("result"))
    assert result.metrics["eval/map50"] >= 0.9
    assert not [e.advice.observation for e in events if e.HasField("advice")]

    titles = [e.sample.title for e in events if e.HasField("sample")]
    assert any("first training batch" in title for title in titles)
    assert any("found" in title for title in titles)
    named = {name for e in events for name in e.metrics.values}
    assert {"train/box_loss", "train/cls_loss", "train/dfl_loss", "eval/ap50/circle"} <= named
    paths = {e.artifact.artifact.path for e in events if e.HasField("artifact")}
    assert {"confusion_matrix.png", "precision_recall_curve.png", "f1_curve.png", "labels.png"} <= paths
    assert json.loads(vision.artifact(job.name, "config.json"))["classes"] == list(CLASSES)

    for path in ("model.safetensors", "config.json"):
        (tmp_path / path).write_bytes(vision.artifact(job.name, path))
    image = Image.new("RGB", (96, 96), (128, 124, 118))
    image.paste((9, 132, 227), (20, 30, 50, 60))
    (box,) = Detector.load(tmp_path).detect([image], min_score=0.4)[0]
    assert box.label == "square"
    assert abs(box.x_min - 20) < 6 and abs(box.y_max - 60) < 6


def test_a_folder_of_classes_is_refused(vision: Platform) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            encoded = io.BytesIO()
            Image.effect_noise((16, 16), 60).convert("RGB").save(encoded, "PNG")
            target.writestr(name, encoded.getvalue())
    vision.upload_images("folders", archive.getvalue())
    with pytest.raises(Exception, match="format yolo, not image-folder"):
        vision.train(spec("datasets/folders", max_steps=1))
