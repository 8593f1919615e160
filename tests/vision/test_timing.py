from pathlib import Path
from types import SimpleNamespace

import pytest

from tuneyard.trainer import run_times
from tuneyard.trainer import speeds as speeds_file
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import Result
from tuneyard.v1 import dataset_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.estimate import estimate
from tuneyard.vision.run_times import predicted

CPU = system_pb2.Device(id="cpu")
GPU = system_pb2.Device(id="cuda:0", memory_total_bytes=80 << 30)


def request(samples: int = 1000, **hyper: int) -> trainer_service_pb2.TrainerServiceEstimateRequest:
    message = trainer_service_pb2.TrainerServiceEstimateRequest()
    message.spec.training.base_model = "resnet18"
    message.spec.training.image_classifier.SetInParent()
    for name, value in hyper.items():
        setattr(message.spec.training.hyperparameters, name, value)
    report = dataset_pb2.ValidationReport(classes=["a", "b"])
    report.splits.add(
        split="train", samples=samples, samples_per_class={"a": samples // 2, "b": samples // 2}
    )
    report.splits.add(split="val", samples=100)
    message.dataset.report.CopyFrom(report)
    return message


def seconds(asked: trainer_service_pb2.TrainerServiceEstimateRequest, speeds: Path | None = None) -> float:
    return estimate(asked, [CPU], speeds=speeds).estimate.duration.ToTimedelta().total_seconds()


def test_more_work_is_predicted_to_take_longer() -> None:
    usual = seconds(request())
    assert seconds(request(samples=4000)) > 3 * usual
    assert seconds(request(epochs=30)) > 1.5 * usual
    assert seconds(request(precision=training_pb2.PRECISION_BF16)) < usual
    assert seconds(request(eval_steps=1)) > 2 * usual


def test_nothing_is_predicted_while_steps_or_the_device_are_unknown(tmp_path: Path) -> None:
    unknown = request()
    unknown.dataset.Clear()
    assert not estimate(unknown, [CPU]).estimate.HasField("duration")
    assert not estimate(request(), [GPU]).estimate.HasField("duration")


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(root=tmp_path)


def finish(run: FakeRun, monkeypatch: pytest.MonkeyPatch, *, took: float) -> None:
    """A run of 100 steps that took so many seconds."""
    moments = iter([0.0, took])
    # The recipe's name for it alone: other threads read the clock, too.
    monkeypatch.setattr(run_times, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    asked = request(max_steps=100)
    started = trainer_service_pb2.StartRunRequest(spec=asked.spec, dataset=asked.dataset)
    with run_times.measured(started, run, predict=predicted) as timed:
        timed.result = Result(metrics={}, step=100)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_finished_run_corrects_the_next_prediction(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, device: system_pb2.Device
) -> None:
    run.device = device.id
    finish(run, monkeypatch, took=1000.0)
    speeds = run.cache_dir / speeds_file.SPEEDS_FILE
    found = estimate(request(max_steps=100), [device], speeds=speeds).estimate.duration
    assert found.ToTimedelta().total_seconds() == pytest.approx(1000, rel=0.01)


def test_of_several_runs_the_newest_counts_most(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    for took in (2000.0, 1000.0):
        finish(run, monkeypatch, took=took)
    assert seconds(request(max_steps=100), run.cache_dir / speeds_file.SPEEDS_FILE) == pytest.approx(
        1500, rel=0.01
    )


def test_very_short_runs_and_broken_files_teach_nothing(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(run, monkeypatch, took=2.0)
    speeds = run.cache_dir / speeds_file.SPEEDS_FILE
    assert not speeds.exists()
    speeds.write_text("{no json")
    assert seconds(request(), speeds) == seconds(request())
