"""Evaluations and exports through the whole platform: asked for, interrupted, repeated and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from tests.support.digits import digits
from tests.support.platform import Platform, assert_gapless, eventually
from tests.support.shapes import Drawing, write_shapes
from tests.support.watcher import Watcher
from tuneyard.cli.main import app
from tuneyard.client import Client, ConnectionSettings
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, training_pb2
from tuneyard.v1 import training_service_pb2 as service

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


@pytest.fixture(scope="module")
def trained(vision: Platform) -> job_pb2.Job:
    """A finished classifier of digits."""
    vision.upload_images("digits", digits(30))
    spec = training_pb2.TrainingSpec(
        dataset="datasets/digits",
        base_model="resnet18",
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(
            batch_size=32, learning_rate=1e-3, epochs=2, precision=training_pb2.PRECISION_FP32
        ),
        image_classifier=training_pb2.ImageClassifier(pretrained=False, image_size=32),
    )
    return finished(vision, vision.train(spec))


def finished(vision: Platform, job: job_pb2.Job) -> job_pb2.Job:
    assert_gapless(vision.watch(job.name).wait(within=240))
    ended = vision.job(job.name)
    assert ended.state == SUCCEEDED, ended.error
    return ended


def evaluate(vision: Platform, source: job_pb2.Job, **settings: Any) -> job_pb2.Job:
    request = service.EvaluateRequest(spec=job_pb2.EvaluateSpec(source_job=source.name, **settings))
    return vision.call(lambda channel: vision.training(channel).Evaluate(request, timeout=30)).job


def export(vision: Platform, source: job_pb2.Job, format: str) -> job_pb2.Job:
    value = job_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{format.upper()}")
    request = service.ExportRequest(spec=job_pb2.ExportSpec(source_job=source.name, format=value))
    return vision.call(lambda channel: vision.training(channel).Export(request, timeout=30)).job


def paths(events: list[event_pb2.JobEvent]) -> set[str]:
    return {event.artifact.artifact.path for event in events if event.HasField("artifact")}


def test_an_evaluation_measures_what_the_training_held_out(vision: Platform, trained: job_pb2.Job) -> None:
    job = evaluate(vision, trained)
    assert job.resolved_spec.evaluate.dataset == "datasets/digits"
    assert job.resolved_spec.evaluate.split == "val"
    ended = finished(vision, job)
    told = json.loads(vision.artifact(trained.name, "metrics.json"))
    report = json.loads(vision.artifact(job.name, "report.json"))
    assert report["confusion_matrix"] == told["confusion_matrix"]
    assert report["metrics"]["loss"] == pytest.approx(told["metrics"]["eval/loss"], rel=1e-4)
    assert ended.metrics["eval/accuracy_top1"].latest == told["metrics"]["eval/accuracy_top1"]
    assert report["split"]["name"] == "val" and "seed 1" in report["split"]["origin"]
    manifest = json.loads(vision.artifact(job.name, "manifest.json"))
    assert manifest["source_job"] == trained.name and manifest["dataset"]["name"] == "datasets/digits"


def test_a_killed_evaluation_runs_again_and_leaves_the_same(vision: Platform, trained: job_pb2.Job) -> None:
    calm = finished(vision, evaluate(vision, trained, split="train"))
    job = evaluate(vision, trained, split="train")
    kill_at_work(vision, vision.watch(job.name))
    ended = finished(vision, job)
    assert ended.attempt_count == 2
    assert vision.artifact(job.name, "report.json") == vision.artifact(calm.name, "report.json")


def kill_at_work(vision: Platform, watcher: Watcher) -> None:
    watcher.wait_for(lambda events: any(event.HasField("stage") for event in events), within=120)
    for worker in eventually(vision.workers, within=10, what="a worker"):
        worker.kill()


def test_a_paused_evaluation_begins_anew(vision: Platform, trained: job_pb2.Job) -> None:
    job = evaluate(vision, trained)
    vision.pause(job.name)
    state = eventually(
        lambda: (
            (vision.job(job.name).state in (SUCCEEDED, job_pb2.JOB_STATE_PAUSED)) and vision.job(job.name)
        ),
        within=60,
        what="the pause",
    )
    if state and state.state == job_pb2.JOB_STATE_PAUSED:
        vision.resume(job.name)
    assert finished(vision, job).metrics["eval/accuracy_top1"].latest > 0


def test_another_dataset_is_measured_by_the_names_of_its_classes(
    vision: Platform, trained: job_pb2.Job
) -> None:
    vision.upload_images("more-digits", digits(3))
    job = finished(vision, evaluate(vision, trained, dataset="datasets/more-digits"))
    report = json.loads(vision.artifact(job.name, "report.json"))
    assert report["split"] == {"name": "train", "origin": "all of the dataset", "samples": 30}
    vision.upload_images("letters", digits(2, rename={"7": "seven"}))
    with pytest.raises(Exception, match=r"spec\.dataset.*'seven'"):
        evaluate(vision, trained, dataset="datasets/letters")


def test_what_cannot_be_measured_is_refused(vision: Platform, trained: job_pb2.Job) -> None:
    with pytest.raises(Exception, match=r"spec\.split.*no split 'test'"):
        evaluate(vision, trained, split="test")
    with pytest.raises(Exception, match="datasets/none"):
        evaluate(vision, trained, dataset="datasets/none")
    derived = finished(vision, export(vision, trained, "safetensors"))
    with pytest.raises(Exception, match=r"spec\.source_job"):
        evaluate(vision, derived)


def test_an_onnx_export_computes_what_was_trained(vision: Platform, trained: job_pb2.Job) -> None:
    job = finished(vision, export(vision, trained, "onnx"))
    session = onnxruntime.InferenceSession(vision.artifact(job.name, "model.onnx"))
    [logits] = session.run(["logits"], {"images": np.zeros((3, 3, 32, 32), np.float32)})
    assert logits.shape == (3, 10) and np.allclose(logits[0], logits[2], atol=1e-5)
    manifest = json.loads(vision.artifact(job.name, "manifest.json"))
    assert manifest["check"]["input_source"] == "images of datasets/digits"
    assert manifest["check"]["max_abs_difference"] <= manifest["check"]["tolerance"]


def test_an_export_does_not_wait_behind_a_training(vision: Platform, trained: job_pb2.Job) -> None:
    spec = training_pb2.TrainingSpec()
    spec.CopyFrom(trained.spec.training)
    spec.hyperparameters.epochs = 500
    training = vision.train(spec)
    vision.watch(training.name).at_step(2, within=120)
    finished(vision, export(vision, trained, "torchscript"))
    assert vision.job(training.name).state == job_pb2.JOB_STATE_RUNNING
    vision.cancel(training.name)
    vision.watch(training.name).wait(within=60)


def test_a_killed_export_runs_again(vision: Platform, trained: job_pb2.Job) -> None:
    job = export(vision, trained, "onnx")
    watcher = vision.watch(job.name)
    kill_at_work(vision, watcher)
    assert finished(vision, job).attempt_count == 2
    assert paths(watcher.wait(within=10)) == {"model.onnx", "config.json", "manifest.json"}


def test_formats_that_are_not_written_are_refused_with_a_reason(
    vision: Platform, trained: job_pb2.Job
) -> None:
    for format, reason in (("adapter", "no adapter"), ("ultralytics", "no model of")):
        with pytest.raises(Exception, match=reason):
            export(vision, trained, format)


def test_the_command_line_shows_a_report_and_fetches_an_export(
    vision: Platform, trained: job_pb2.Job, tmp_path: Path
) -> None:
    server = ["--server", vision.address]
    shown = CliRunner().invoke(app, ["evaluate", trained.name, "-o", str(tmp_path), *server])
    assert shown.exit_code == 0, shown.output
    assert "val: the 15% of the images that the training held out (seed 1), " in shown.stdout
    assert f"report: {tmp_path / 'report.html'}" in shown.stdout
    assert (tmp_path / "report.html").stat().st_size > 10_000
    args = ["export", trained.name, "--to", "safetensors", "-o", str(tmp_path / "model"), *server]
    fetched = CliRunner().invoke(app, args)
    assert fetched.exit_code == 0, fetched.output
    same = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert same == vision.artifact(trained.name, "model.safetensors")


@pytest.fixture(scope="module")
def detector(vision: Platform, tmp_path_factory: pytest.TempPathFactory) -> job_pb2.Job:
    """A finished detector of drawn shapes."""
    root = tmp_path_factory.mktemp("shapes") / "set"
    write_shapes(root, train=24, val=6, test=4, drawing=Drawing(size=(64, 64)))
    with Client(ConnectionSettings(server=vision.address)) as client:
        name = client.datasets.upload(root, format=dataset_pb2.DATASET_FORMAT_YOLO).name
        client.datasets.wait_ready(name)
    spec = training_pb2.TrainingSpec(
        dataset=name,
        base_model="yolov8n",
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(
            batch_size=8, learning_rate=2e-3, epochs=2, precision=training_pb2.PRECISION_BF16
        ),
        object_detector=training_pb2.ObjectDetector(pretrained=False, image_size=64),
    )
    return finished(vision, vision.train(spec))


def test_a_detector_is_measured_on_its_test_split_and_on_validation(
    vision: Platform, detector: job_pb2.Job
) -> None:
    job = finished(vision, evaluate(vision, detector))
    report = json.loads(vision.artifact(job.name, "report.json"))
    assert report["split"] == {"name": "test", "origin": "the dataset's own test split", "samples": 4}
    again = finished(vision, evaluate(vision, detector, split="val"))
    told = json.loads(vision.artifact(detector.name, "metrics.json"))["metrics"]
    for name in ("eval/map50", "eval/map50_95", "eval/box_loss"):
        assert again.metrics[name].latest == pytest.approx(told[name], rel=1e-3)


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("onnx", "model.onnx"),
        ("openvino", "model.bin"),
        ("torchscript", "model.torchscript"),
        ("ultralytics", "model.pt"),
    ],
)
def test_a_detector_is_exported(vision: Platform, detector: job_pb2.Job, format: str, file: str) -> None:
    job = finished(vision, export(vision, detector, format))
    check = json.loads(vision.artifact(job.name, "manifest.json"))["check"]
    assert check["input_source"].startswith("images of datasets/")
    assert check["max_abs_difference"] <= check["tolerance"]
    assert len(vision.artifact(job.name, file)) > 1_000_000
