"""Finished models tried through the whole platform: real workers that are idle, in the way, or killed."""

import io
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import grpc
import pytest
from grpc_status import rpc_status
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from tests.support.platform import Platform, drawn_images, eventually, fake_spec, platform
from tests.support.shapes import Drawing, write_shapes
from tuneyard.cli.main import app
from tuneyard.client import Client
from tuneyard.rpc.errors import TuneyardError, from_status
from tuneyard.v1 import job_pb2, training_pb2, training_service_pb2
from tuneyard.v1.inference_service_pb2 import (
    ChatTurn,
    ClassifyRequest,
    ClassifyResponse,
    DetectRequest,
    GenerateTextRequest,
    ImageInput,
)
from tuneyard.v1.inference_service_pb2_grpc import InferenceServiceStub
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

T = TypeVar("T")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def inference(fakes: Platform, call: Callable[[InferenceServiceStub], T]) -> T:
    with fakes.channel() as channel:
        return call(InferenceServiceStub(channel))


def classify(fakes: Platform, job: str, *contents: bytes, timeout: float = 30) -> ClassifyResponse:
    images = [ImageInput(name=f"{i}.png", content=each) for i, each in enumerate(contents or (b"x",))]
    request = ClassifyRequest(job=job, images=images)
    return inference(fakes, lambda stub: stub.Classify(request, timeout=timeout))


def refusal(call: Callable[[], object]) -> TuneyardError:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    status = rpc_status.from_call(cast(grpc.Call, refused.value))
    error = from_status(status) if status is not None else None
    assert error is not None, refused.value
    return error


def finished(fakes: Platform, script: str = "") -> str:
    job = fakes.train(fake_spec(f"steps=2,{script}")).name
    fakes.watch(job).wait()
    assert fakes.job(job).state == job_pb2.JOB_STATE_SUCCEEDED, fakes.job(job).error
    return job


def until_no_worker(fakes: Platform, *, within: float = 20.0) -> None:
    eventually(lambda: not fakes.workers(), within=within, what="the end of every worker")


@pytest.fixture(scope="module")
def trained(fakes: Platform) -> str:
    """A finished job of the fake family."""
    return finished(fakes)


def test_a_finished_model_answers_from_one_process(fakes: Platform, trained: str) -> None:
    first = classify(fakes, trained, b"1", b"2")
    [worker] = fakes.workers()
    assert [each.name for each in first.classifications] == ["0.png", "1.png"]
    assert classify(fakes, trained, b"1", b"2") == first
    assert [process.pid for process in fakes.workers()] == [worker.pid]


def test_a_queued_job_gets_the_device_at_once(fakes: Platform, trained: str) -> None:
    classify(fakes, trained)
    [worker] = fakes.workers()
    began = time.monotonic()
    fakes.watch(fakes.train(fake_spec("steps=2,step_ms=1")).name).wait()
    assert time.monotonic() - began < 15
    assert not worker.is_running() or worker.status() == "zombie"
    assert classify(fakes, trained).classifications


def test_a_caller_whose_device_goes_to_a_job_hears_when_to_try_again(fakes: Platform) -> None:
    slow = finished(fakes, "answer_ms=60000")
    with fakes.channel() as channel:
        request = ClassifyRequest(job=slow, images=[ImageInput(content=b"x")])
        asked = InferenceServiceStub(channel).Classify.future(request, timeout=60)
        eventually(fakes.workers, within=20, what="the model's process")
        job = fakes.train(fake_spec("steps=200,step_ms=10")).name
        error = refusal(asked.result)
        assert (error.reason, error.retry_after is not None) == ("NO_FREE_SLOT", True)
        fakes.watch(job).at_step(1)
        error = refusal(lambda: classify(fakes, slow))
        assert error.reason == "NO_FREE_SLOT"
        assert job in error.message
    fakes.cancel(job)
    fakes.watch(job).wait()


def test_a_killed_model_is_told_and_the_next_call_starts_it_anew(fakes: Platform, trained: str) -> None:
    assert refusal(lambda: classify(fakes, finished(fakes, "answer_crash=1"))).reason == "WORKER_KILLED"
    until_no_worker(fakes)
    before = classify(fakes, trained)
    [worker] = fakes.workers()
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)

    def answered() -> ClassifyResponse | None:
        # A call that meets the process at its very end is told of it.
        try:
            return classify(fakes, trained)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ABORTED, error
            return None

    assert eventually(answered, within=20, what="an answer").classifications == before.classifications


def test_who_hangs_up_ends_the_work_and_not_the_model(fakes: Platform) -> None:
    slow = finished(fakes, "answer_ms=1500")
    request = ClassifyRequest(job=slow, images=[ImageInput(content=b"x")] * 30)
    with pytest.raises(grpc.RpcError) as late:
        inference(fakes, lambda stub: stub.Classify(request, timeout=2))
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    [worker] = fakes.workers()
    assert classify(fakes, slow).classifications
    assert [process.pid for process in fakes.workers()] == [worker.pid]


def test_what_cannot_be_answered_is_told_with_its_reason(fakes: Platform, trained: str) -> None:
    bad = refusal(lambda: classify(fakes, trained, b"fine", b"not an image"))
    assert [violation.field for violation in bad.violations] == ["images[1].content"]
    request = DetectRequest(job=trained, images=[ImageInput(content=b"x")])
    wrong = refusal(lambda: inference(fakes, lambda stub: stub.Detect(request, timeout=30)))
    assert (wrong.reason, "call Classify" in wrong.message) == ("INVALID_FIELD", True)
    text = GenerateTextRequest(job=trained, messages=[ChatTurn(role="user", content="hello")])
    refused = refusal(lambda: inference(fakes, lambda stub: list(stub.GenerateText(text, timeout=30))))
    assert refused.reason == "INVALID_FIELD"
    running = fakes.train(fake_spec("steps=500,step_ms=10")).name
    assert refusal(lambda: classify(fakes, running)).reason == "JOB_STATE_CONFLICT"
    fakes.cancel(running)
    fakes.watch(running).wait()


def test_the_model_of_a_deleted_job_is_gone(fakes: Platform) -> None:
    job = finished(fakes)
    assert classify(fakes, job).classifications
    request = training_service_pb2.DeleteJobRequest(name=job)
    fakes.call(lambda channel: TrainingServiceStub(channel).DeleteJob(request, timeout=10))
    assert refusal(lambda: classify(fakes, job)).reason == "JOB_NOT_FOUND"


def test_as_much_as_the_gateway_takes_reaches_the_model(fakes: Platform, trained: str) -> None:
    almost = (32 << 20) - 1000
    assert classify(fakes, trained, bytes(almost // 2), bytes(almost // 2)).classifications
    assert refusal(lambda: classify(fakes, trained, bytes(33 << 20))).reason == "MESSAGE_TOO_LARGE"


def test_a_restarted_trainer_answers_and_leaves_no_process_behind(fakes: Platform, trained: str) -> None:
    before = classify(fakes, trained)
    [worker] = fakes.workers()
    fakes.trainer.restart()
    eventually(lambda: not worker.is_running(), within=10, what="the end of the old process")
    fakes.wait_ready()
    assert classify(fakes, trained).classifications == before.classifications


def test_a_warm_server_that_dies_takes_the_model_along_and_another_one_serves_it(
    fakes: Platform, trained: str
) -> None:
    before = classify(fakes, trained)
    [worker], [warm] = fakes.workers(), fakes.trainer.children(of_module="tuneyard.trainer.warm")[:1]
    warm.kill()
    eventually(lambda: not worker.is_running(), within=10, what="the end of the model's process")

    def answered() -> ClassifyResponse | None:
        try:
            return classify(fakes, trained)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            return None

    assert eventually(answered, within=20, what="an answer").classifications == before.classifications


def test_an_unused_model_is_unloaded_and_a_second_device_serves_beside_a_run(tmp_path: Path) -> None:
    extra = {"TUNEYARD_DEVICES": "cpu,cpu", "TUNEYARD_INFERENCE_IDLE_SECONDS": "1"}
    with platform(tmp_path / "p", extra=extra) as fakes:
        fakes.upload_images()
        trained = finished(fakes)
        running = fakes.train(fake_spec("steps=3000,step_ms=10")).name
        fakes.watch(running).at_step(1)
        assert classify(fakes, trained).classifications
        eventually(lambda: len(fakes.workers()) == 1, within=10, what="the end of the idle model")
        assert fakes.job(running).state == job_pb2.JOB_STATE_RUNNING
        fakes.cancel(running)


def test_a_trained_classifier_answers_with_its_classes(vision: Platform) -> None:
    vision.upload_images("shapes", drawn_images(per_class=24))
    spec = training_pb2.TrainingSpec(
        dataset="datasets/shapes",
        base_model="squeezenet1_1",
        seed=3,
        hyperparameters=training_pb2.Hyperparameters(
            epochs=8, batch_size=8, learning_rate=1e-3, precision=training_pb2.PRECISION_FP32
        ),
        image_classifier=training_pb2.ImageClassifier(pretrained=False, image_size=32),
    )
    job = vision.train(spec).name
    vision.watch(job).wait(within=180)
    assert vision.job(job).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job).error
    scan = io.BytesIO()
    Image.fromarray((load_digits().images[0] * 15.9).astype("uint8")).save(scan, "PNG")
    answer = classify(vision, job, scan.getvalue())
    again = classify(vision, job, scan.getvalue())
    assert again.classifications == answer.classifications
    [only] = answer.classifications
    assert {score.label for score in only.scores} == {"disc", "square"}
    bad = refusal(lambda: classify(vision, job, scan.getvalue(), b"hello"))
    assert [violation.field for violation in bad.violations] == ["images[1].content"]


def test_a_trained_detector_draws_what_it_sees(
    vision: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics")
    shapes = write_shapes(tmp_path / "shapes", train=12, val=6, drawing=Drawing(size=(96, 96), max_shapes=1))
    with Client(vision.address) as client:
        client.datasets.upload(shapes, format="yolo", name="boxes")
    spec = training_pb2.TrainingSpec(
        dataset="datasets/boxes",
        base_model="yolov8n",
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(epochs=1, batch_size=6),
        object_detector=training_pb2.ObjectDetector(pretrained=False, image_size=64),
    )
    job = vision.train(spec).name
    vision.watch(job).wait(within=180)
    assert vision.job(job).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job).error
    monkeypatch.setenv("TUNEYARD_SERVER", vision.address)
    out = tmp_path / "drawn"
    arguments = ["predict", job, str(shapes / "images/val"), "-o", str(out), "--min-score", "0", "--json"]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert len(answer["images"]) == 6
    for image in answer["images"]:
        assert (image["width"], image["height"]) == (96, 96)
        assert {box["label"] for box in image["detections"]} <= {"circle", "square", "triangle"}
    assert sorted(path.name for path in out.iterdir()) == [f"val-{number:05}.png" for number in range(6)]
