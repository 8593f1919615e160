import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake.entry import fake_config
from tuneyard.trainer.fake.recipe import FakeConfig, train
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import Result
from tuneyard.v1.training_pb2 import Hyperparameters, TrainingSpec

SCRIPT = "steps=30,eval=4,samples=50"


def config(script: str, hyperparameters: Hyperparameters | None = None) -> FakeConfig:
    return fake_config(TrainingSpec(base_model=f"fake:{script}", hyperparameters=hyperparameters))


def numbers(run: FakeRun) -> list[bytes]:
    return [run.artifacts[name].path.read_bytes() for name in ("weights.npy", "losses.json")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, Result]:
    """A run without any trouble."""
    run = FakeRun(root=tmp_path_factory.mktemp("whole"))
    return run, train(config(SCRIPT), run)


@settings(max_examples=15, deadline=None)
@given(stops=st.lists(st.integers(1, 29), max_size=4, unique=True).map(sorted))
def test_pauses_change_no_number(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[FakeRun, Result], stops: list[int]
) -> None:
    run = FakeRun(root=tmp_path_factory.mktemp("paused"))
    for step in stops:
        run.stop, run.stop_after = Stop.PAUSE, step
        with pytest.raises(Stopped) as caught:
            train(config(SCRIPT), run)
        assert caught.value.step == step
        run = run.resumed()
    result = train(config(SCRIPT), run)
    assert numbers(run) == numbers(whole[0])
    assert result == whole[1]


@settings(max_examples=15, deadline=None)
@given(micro_batch=st.sampled_from([1, 2, 4, 8]), oom_at=st.integers(0, 30))
def test_smaller_micro_batches_change_no_number(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[FakeRun, Result], micro_batch: int, oom_at: int
) -> None:
    run = FakeRun(root=tmp_path_factory.mktemp("short"))
    # At micro-batch 1 one more out-of-memory error is the end.
    at = oom_at if micro_batch > 2 else 0
    train(config(f"{SCRIPT},oom_above={micro_batch},oom_at={at}"), run)
    assert numbers(run) == numbers(whole[0])


def test_every_step_is_measured(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    train(config("steps=10,probe=1"), run)
    assert [step for step, _ in run.series("probe/step")] == list(range(1, 11))
    assert json.loads(run.artifacts["losses.json"].path.read_text()) == [
        loss for _, loss in run.series("train/loss")
    ]


def test_epochs_and_batch_give_the_steps(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    hyperparameters = Hyperparameters(epochs=3, batch_size=4, gradient_accumulation_steps=2)
    result = train(config("samples=20", hyperparameters), run)
    assert result.step == 9
    assert run.all_of("progress")[-1]["total_epochs"] == pytest.approx(3, abs=1)


def test_checkpoints_come_as_asked(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path, keep_last=100)
    train(config("steps=20,save=5,checkpoint_bytes=1000"), run)
    assert [checkpoint.step for checkpoint in run.checkpoints] == [5, 10, 15, 20]
    assert (run.checkpoints[0].dir / "padding.bin").stat().st_size == 1000


def test_samples_logs_and_advice_come_as_asked(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    train(config("steps=6,sample=3,log=2,advise_at=4,artifact_bytes=10"), run)
    assert [s["title"] for s in run.all_of("sample")] == ["Step 3", "A picture", "Step 6"]
    assert len(run.all_of("log")) == 12
    assert len(run.all_of("advice")) == len(run.all_of("warning")) == 1
    assert run.artifacts["extra.bin"].path.stat().st_size == 10


def test_a_cancel_ends_the_run_with_nothing_saved(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path, stop=Stop.CANCEL, stop_after=4)
    with pytest.raises(Stopped) as caught:
        train(config("steps=10"), run)
    assert caught.value.mode is Stop.CANCEL and run.checkpoints == []


def test_a_cancel_can_be_ignored(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path, stop=Stop.CANCEL, stop_after=4)
    assert train(config("steps=10,ignore_cancel=1"), run).step == 10


def test_a_failure_comes_as_asked(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        train(config("fail_at=3"), FakeRun(root=tmp_path))


def test_a_worker_that_wants_a_dataset_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="training_files"):
        train(config("dataset=1"), FakeRun(root=tmp_path))
