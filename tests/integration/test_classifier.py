"""The image classifier through the whole platform: what it leaves behind, what is refused, what diverges."""

import json

import pytest

from tests.support.digits import digits
from tests.support.platform import Platform, assert_gapless
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, training_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _uploaded(vision: Platform) -> None:
    vision.upload_images("classified", digits(30))


def spec(**settings: object) -> training_pb2.TrainingSpec:
    return training_pb2.TrainingSpec(
        dataset="datasets/classified",
        base_model="resnet18",
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(
            batch_size=32,
            learning_rate=1e-3,
            precision=training_pb2.PRECISION_FP32,
            **settings,  # type: ignore[arg-type]
        ),
        checkpoints=training_pb2.CheckpointPolicy(save_steps=7),
        image_classifier=training_pb2.ImageClassifier(pretrained=False, image_size=32),
    )


def test_a_finished_classifier_leaves_everything_behind(vision: Platform) -> None:
    job = vision.train(spec(epochs=2))
    events = vision.watch(job.name).wait(within=240)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job.name).error
    named = {name for e in events for name in e.metrics.values}
    assert {
        "train/loss",
        "train/learning_rate",
        "eval/loss",
        "eval/accuracy_top1",
        "eval/accuracy_top5",
    } <= named
    paths = {e.artifact.artifact.path for e in events if e.HasField("artifact")}
    assert {"model.safetensors", "config.json", "metrics.json", "manifest.json"} <= paths
    config = json.loads(vision.artifact(job.name, "config.json"))
    assert config["classes"] == [str(digit) for digit in range(10)]
    assert any("first training batch" in e.sample.title for e in events)
    assert vision.job(job.name).planned_steps == vision.job(job.name).progress.total_steps > 0


def test_what_cannot_be_trained_is_refused_and_the_next_job_runs(vision: Platform) -> None:
    unknown = spec(max_steps=2)
    unknown.base_model = "resnet5000"
    with pytest.raises(Exception, match="resnet50"):
        vision.train(unknown)
    with pytest.raises(Exception, match=r"hyperparameters\.learning_rate"):
        wrong = spec(max_steps=2)
        wrong.hyperparameters.learning_rate = 0
        vision.train(wrong)
    with pytest.raises(Exception, match=r"hyperparameters\.batch_size"):
        large = spec(max_steps=2)
        large.hyperparameters.batch_size = 60_000
        vision.train(large)
    job = vision.train(spec(max_steps=2))
    vision.watch(job.name).wait(within=120)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_training_that_explodes_goes_back_once_and_its_log_says_so(vision: Platform) -> None:
    wild = spec(max_steps=60, optimizer=training_pb2.OPTIMIZER_SGD, max_grad_norm=0.0)
    wild.base_model, wild.checkpoints.save_steps = "squeezenet1_1", 3
    wild.hyperparameters.learning_rate = 5.0
    job = vision.train(wild)
    events = vision.watch(job.name).wait(within=120)
    assert_gapless(events)
    ended = vision.job(job.name)
    assert ended.error.reason == errors_pb2.ERROR_REASON_DIVERGED, ended
    bodies = [event.WhichOneof("body") for event in events]
    assert bodies.count("rolled_back") == 1
    back = next(event.rolled_back for event in events if event.HasField("rolled_back"))
    assert [e.advice.kind for e in events if e.HasField("advice")] == [event_pb2.ADVICE_KIND_DIVERGING]
    assert "rolled_back" in [e.warning.code for e in events if e.HasField("warning")]
    assert back.reason in ended.warnings
    saved = [e.checkpoint for e in events[bodies.index("rolled_back") :] if e.HasField("checkpoint")]
    assert saved[0].checkpoint.step == back.to_step
