import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.run import AdviceKind, ArtifactKind

if TYPE_CHECKING:
    from tests.trainer.run_contract.conftest import ContractRun


def text(content: str, name: str = "state.txt") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return write


def save(contract: "ContractRun", step: int, *, best: bool = False, wait: bool = True) -> None:
    write = text(f"state of {step}", "deep/state.txt")
    contract.run.save_checkpoint(
        step=step, epoch=step / 10, write=write, metrics={"train/loss": 1.0}, best=best, wait=wait
    )


def progress(contract: "ContractRun", step: int) -> None:
    contract.run.progress(step=step, total_steps=10, epoch=0, total_epochs=1, unit="images", count=4)


def test_a_first_attempt_has_no_checkpoint(contract: "ContractRun") -> None:
    assert contract.run.checkpoint() is None
    assert contract.run.best_metric is None
    assert contract.run.attempt == 1


def test_a_run_of_its_own_has_no_source_artifacts(contract: "ContractRun") -> None:
    with pytest.raises(RecipeError) as caught:
        contract.run.source_artifacts()
    assert caught.value.reason == "MODEL_NOT_FOUND"


def test_the_work_folder_is_empty(contract: "ContractRun") -> None:
    assert list(contract.run.work_dir.iterdir()) == []


def test_a_stage_is_told_at_its_begin_and_end(contract: "ContractRun") -> None:
    with contract.run.stage("load_model"):
        assert contract.stages() == [("load_model", False)]
    assert contract.stages() == [("load_model", False), ("load_model", True)]


def test_a_stage_that_fails_has_no_end(contract: "ContractRun") -> None:
    with pytest.raises(ValueError), contract.run.stage("load_model"):
        raise ValueError
    assert contract.stages() == [("load_model", False)]


def test_the_last_progress_is_told(contract: "ContractRun") -> None:
    for step in range(1, 6):
        progress(contract, step)
    assert contract.steps()[-1] == 5


def test_evaluations_are_told_behind_the_last_training_metrics(contract: "ContractRun") -> None:
    for step in range(1, 6):
        contract.run.metrics(step=step, epoch=0, values={"train/loss": float(step)})
    contract.run.metrics(step=5, epoch=0, values={"eval/loss": 2.0})
    assert contract.metrics()[-2:] == [(5, {"train/loss": 5.0}), (5, {"eval/loss": 2.0})]


def test_values_that_are_no_numbers_are_left_out_with_one_warning(contract: "ContractRun") -> None:
    for _ in range(2):
        contract.run.metrics(step=1, epoch=0, values={"eval/loss": float("nan"), "eval/accuracy": 0.5})
    assert contract.metrics() == [(1, {"eval/accuracy": 0.5})] * 2
    assert contract.warnings() == ["non_finite_metric"]


def test_the_next_attempt_gets_the_newest_checkpoint(contract: "ContractRun") -> None:
    for step in (10, 20):
        save(contract, step)
    loaded = contract.next().run.checkpoint()
    assert loaded is not None
    assert (loaded.attempt, loaded.step, loaded.epoch) == (1, 20, 2.0)
    assert (loaded.dir / "deep/state.txt").read_text() == "state of 20"
    assert loaded.metrics == {"train/loss": 1.0}


def test_the_newest_two_and_the_best_are_kept(contract: "ContractRun") -> None:
    for step in (1, 2, 3, 4, 5):
        save(contract, step, best=step in (1, 2), wait=False)
    assert contract.checkpoints() == [(2, True), (4, False), (5, False)]


def test_a_step_saved_twice_is_one_checkpoint(contract: "ContractRun") -> None:
    save(contract, 5, wait=False)
    save(contract, 5, wait=True)
    assert contract.checkpoints() == [(5, False)]


def test_a_step_saved_again_as_the_best_is_the_best(contract: "ContractRun") -> None:
    save(contract, 5)
    save(contract, 5, best=True)
    assert contract.checkpoints() == [(5, True)]


def test_a_checkpoint_whose_writing_fails_does_not_exist(contract: "ContractRun") -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ValueError("cannot write")

    with pytest.raises(ValueError, match="cannot write"):
        contract.run.save_checkpoint(step=1, epoch=0, write=write, metrics={}, best=False)
    assert contract.checkpoints() == []


def test_an_artifact_has_the_bytes_of_its_file(contract: "ContractRun", tmp_path: Path) -> None:
    path = contract.run.work_dir / "report.json"
    for content in ("old", "new"):
        path.write_text(content)
        contract.run.save_artifact(
            path, name="reports/report.json", kind=ArtifactKind.REPORT, media_type="application/json"
        )
    assert contract.artifact("reports/report.json") == b"new"


def test_an_artifacts_name_stays_in_its_folder(contract: "ContractRun") -> None:
    path = contract.run.work_dir / "x"
    path.write_text("x")
    with pytest.raises(ValueError):
        contract.run.save_artifact(path, name="../x", kind=ArtifactKind.OTHER, media_type="text/plain")


def test_samples_are_told(contract: "ContractRun") -> None:
    picture = contract.run.work_dir / "x.png"
    picture.write_bytes(b"png")
    contract.run.sample_image(picture, title="Batch", step=1, name="samples/x.png")
    contract.run.sample_text(title="Prompt", step=1, prompt="?", tuned="!")
    assert contract.samples() == ["Batch", "Prompt"]
    assert contract.artifact("samples/x.png") == b"png"


def test_an_advice_and_a_warning_are_told_once(contract: "ContractRun") -> None:
    for _ in range(2):
        contract.run.warn("slow", "The machine is slow.")
        contract.run.advise(
            AdviceKind.OVERFITTING,
            observation="…",
            remedies=("Stop.",),
            changes={"early_stopping.patience": 3},
        )
    assert contract.warnings() == ["slow"]
    assert contract.advice() == ["overfitting"]


def test_a_rollback_voids_what_was_saved_beyond_it(contract: "ContractRun") -> None:
    for step in (10, 20, 30):
        save(contract, step, best=step == 10)
    contract.run.rolled_back(from_step=35, to_step=10, learning_rate_factor=0.5, reason="It diverged.")
    contract.run.save_checkpoint(
        step=10, epoch=1.0, write=text("state with half the rate"), metrics={}, best=True, wait=True
    )
    assert contract.checkpoints() == [(10, True)]
    assert (contract.count("rolled_back"), contract.warnings()) == (1, ["rolled_back"])
    loaded = contract.next().run.checkpoint()
    assert loaded is not None and (loaded.dir / "state.txt").read_text() == "state with half the rate"


def test_steps_are_saved_anew_after_a_rollback(contract: "ContractRun") -> None:
    save(contract, 10)
    save(contract, 20)
    contract.run.rolled_back(from_step=25, to_step=10, learning_rate_factor=0.5, reason="It diverged.")
    save(contract, 10)
    contract.run.save_checkpoint(step=20, epoch=2.0, write=text("other"), metrics={}, best=False, wait=True)
    assert contract.checkpoints() == [(10, False), (20, False)]
    loaded = contract.next().run.checkpoint()
    assert loaded is not None and (loaded.dir / "state.txt").read_text() == "other"


def test_finalizing_is_told_once(contract: "ContractRun") -> None:
    contract.run.finalizing()
    contract.run.finalizing()
    assert contract.count("finalizing") == 1


def test_a_recovery_is_told_each_time(contract: "ContractRun") -> None:
    for _ in range(2):
        contract.run.out_of_memory_recovered(
            step=3, old_batch_size=8, new_batch_size=4, gradient_accumulation_steps=2
        )
    assert contract.count("out_of_memory_recovered") == 2


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_is_seen_at_once(contract: "ContractRun", stop: Stop) -> None:
    assert contract.run.stop_requested() is None
    contract.run.check_stop()
    contract.stop(stop)
    assert contract.run.stop_requested() is stop
    with pytest.raises(Stopped) as caught:
        contract.run.check_stop(7)
    assert (caught.value.mode, caught.value.step) == (stop, 7)


def test_derived_data_is_built_once(contract: "ContractRun") -> None:
    built: list[int] = []

    def build(folder: Path) -> None:
        built.append(1)
        (folder / "pixels").write_text("…")

    first = contract.run.cached("pixels", "a key of any length", build)
    assert contract.run.cached("pixels", "a key of any length", build) == first
    assert contract.next().run.cached("pixels", "a key of any length", build) == first
    assert (first / "pixels").exists() and len(built) == 1


def test_derived_data_that_fails_is_built_again(contract: "ContractRun") -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise ValueError

    with pytest.raises(ValueError):
        contract.run.cached("pixels", "key", fail)
    entry = contract.run.cached("pixels", "key", lambda folder: (folder / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]


def test_a_manifest_is_json_and_takes_facts(contract: "ContractRun") -> None:
    manifest = json.loads(json.dumps(contract.run.manifest(accuracy=0.5)))
    assert manifest["accuracy"] == 0.5 and manifest["attempt"] == 1
    assert {"job", "spec", "dataset", "base_model", "packages", "machine"} <= manifest.keys()


def test_no_fault_happens_without_a_plan(contract: "ContractRun") -> None:
    contract.run.fault("step=1")
