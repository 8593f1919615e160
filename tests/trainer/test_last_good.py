from pathlib import Path

from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.run import LoadedCheckpoint


def written(folder: Path, text: str) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "state").write_text(text)
    return folder


def test_without_a_checkpoint_the_last_good_state_is_the_beginning(tmp_path: Path) -> None:
    good = LastGood(tmp_path / "good", begun_at=None)
    assert (good.step, good.dir) == (0, None)


def test_a_resumed_run_goes_back_to_where_it_began(tmp_path: Path) -> None:
    begun_at = LoadedCheckpoint(dir=tmp_path / "resume", attempt=1, step=7, epoch=1.0)
    good = LastGood(tmp_path / "good", begun_at=begun_at)
    assert (good.step, good.dir) == (7, tmp_path / "resume")


def test_only_the_newest_checkpoint_is_kept_and_outlives_the_original(tmp_path: Path) -> None:
    begun_at = LoadedCheckpoint(dir=written(tmp_path / "resume", "old"), attempt=1, step=7, epoch=1.0)
    good = LastGood(tmp_path / "good", begun_at=begun_at)
    for step in (8, 9):
        source = written(tmp_path / f"save-{step}", f"state of {step}")
        good.keep(step, source)
        (source / "deep" / "state").unlink()
    assert good.step == 9 and good.dir is not None
    assert (good.dir / "deep" / "state").read_text() == "state of 9"
    assert len(list((tmp_path / "good").iterdir())) == 1
    assert (tmp_path / "resume" / "deep" / "state").exists()
