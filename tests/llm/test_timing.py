from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuneyard.llm.estimate import estimate
from tuneyard.llm.run_times import predicted
from tuneyard.trainer import run_times, speeds
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import Result
from tuneyard.v1 import dataset_pb2, system_pb2, trainer_service_pb2, training_pb2

CPU = system_pb2.Device(id="cpu")
GPU = system_pb2.Device(id="cuda:0", memory_total_bytes=80 << 30)


def request(samples: int = 1000, **hyper: Any) -> trainer_service_pb2.TrainerServiceEstimateRequest:
    message = trainer_service_pb2.TrainerServiceEstimateRequest()
    message.spec.training.base_model = "smollm2-135m"
    message.spec.training.language_model.SetInParent()
    for name, value in hyper.items():
        setattr(message.spec.training.hyperparameters, name, value)
    report = dataset_pb2.ValidationReport()
    report.splits.add(split="train", samples=samples)
    report.splits.add(split="val", samples=100)
    message.dataset.report.CopyFrom(report)
    message.dataset.size_bytes = 800 * (samples + 100)
    return message


def seconds(
    asked: trainer_service_pb2.TrainerServiceEstimateRequest,
    device: system_pb2.Device = CPU,
    file: Path | None = None,
) -> float:
    return estimate(asked, [device], speeds=file).estimate.duration.ToTimedelta().total_seconds()


def test_more_work_is_predicted_to_take_longer() -> None:
    usual = seconds(request())
    assert seconds(request(samples=4000)) > 3 * usual
    assert seconds(request(epochs=6)) > 1.8 * usual
    assert seconds(request(precision=training_pb2.PRECISION_FP32)) > seconds(
        request(precision=training_pb2.PRECISION_BF16)
    )
    assert seconds(request(eval_steps=1)) > 2 * usual


@pytest.mark.parametrize("change", [{"method": 1}, {"gradient_checkpointing": True}], ids=str)
def test_methods_that_compute_more_take_longer(change: dict[str, Any]) -> None:
    asked = request()
    for name, value in change.items():
        setattr(asked.spec.training.language_model, name, value)
    assert seconds(asked) > 1.2 * seconds(request())


def test_a_quantised_base_takes_longer_the_fewer_tokens_are_computed_at_once() -> None:
    def ratio(max_length: int, **quantised: bool) -> float:
        plain, four_or_eight = request(batch_size=1), request(batch_size=1)
        for each in (plain, four_or_eight):
            each.spec.training.language_model.max_length = max_length
        four_or_eight.spec.training.language_model.method = training_pb2.FINE_TUNING_METHOD_QLORA
        for name, value in quantised.items():
            setattr(four_or_eight.spec.training.language_model.quantization, name, value)
        return seconds(four_or_eight) / seconds(plain)

    assert 1 < ratio(1024) < 1.1 < ratio(128)
    assert ratio(128) < ratio(128, use_8bit=True, use_4bit=False)


def test_nothing_is_predicted_while_steps_or_the_device_are_unknown() -> None:
    unknown = request()
    unknown.dataset.Clear()
    assert seconds(unknown) == 0
    assert seconds(request(), GPU) == 0


def test_a_finished_run_corrects_the_next_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(root=tmp_path, device="cuda:0")
    moments = iter([0.0, 60.0])
    # The recipe's name for it alone: other threads read the clock, too.
    monkeypatch.setattr(run_times, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    asked = request(max_steps=100)
    started = trainer_service_pb2.StartRunRequest(spec=asked.spec, dataset=asked.dataset)
    with run_times.measured(started, run, predict=predicted) as timed:
        timed.result = Result({}, 100)
    file = run.cache_dir / speeds.SPEEDS_FILE
    assert seconds(request(max_steps=100), GPU, file) == pytest.approx(60, abs=1)
    assert seconds(request(max_steps=100), CPU, file) == seconds(request(max_steps=100))


def test_a_run_without_a_result_tells_nothing(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    with run_times.measured(trainer_service_pb2.StartRunRequest(), run, predict=predicted):
        pass
    assert not (run.cache_dir / speeds.SPEEDS_FILE).exists()
