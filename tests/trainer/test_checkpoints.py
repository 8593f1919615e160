import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.storage import FolderStore, ObjectInfo
from tuneyard.trainer.checkpoints import (
    CheckpointKey,
    CheckpointSaver,
    KeepPolicy,
    KeptCheckpoint,
    StoredCheckpoint,
)
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.transfers import Transfers

DEADLINE_SECONDS = 20.0


class GatedStore(FolderStore):
    """A folder store that stores nothing before its gate opens."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, public_url="http://127.0.0.1:1")
        self.gate = threading.Event()
        self.failure: Exception | None = None

    def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        assert self.gate.wait(DEADLINE_SECONDS)
        if self.failure is not None:
            raise self.failure
        return super().put_file(key, path, sha256=sha256, if_absent=if_absent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GatedStore]:
    store = GatedStore(tmp_path / "store")
    yield store
    store.gate.set()


@pytest.fixture
def recorded() -> list[StoredCheckpoint]:
    return []


@pytest.fixture
def saver(tmp_path: Path, store: GatedStore, recorded: list[StoredCheckpoint]) -> CheckpointSaver:
    return CheckpointSaver(
        tmp_path / "scratch",
        prefix="jobs/one/attempts/1/",
        transfers=Transfers(open_store=lambda: store),
        record=recorded.append,
        policy=KeepPolicy(),
    )


def checkpoint(step: int) -> StoredCheckpoint:
    return StoredCheckpoint(key=CheckpointKey(1, step), epoch=0, metrics={}, best=False)


def write(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w" * 100)
    (folder / "optimizer").mkdir()
    (folder / "optimizer" / "state").write_bytes(b"o" * 10)


def test_a_checkpoint_is_recorded_only_when_all_is_stored(
    saver: CheckpointSaver, store: GatedStore, recorded: list[StoredCheckpoint]
) -> None:
    saver.save(checkpoint(5), write, wait=False)
    assert recorded == []
    store.gate.set()
    saver.drain()
    [stored] = recorded
    assert [(f.path, f.stored.size_bytes) for f in stored.files] == [
        ("optimizer/state", 10),
        ("weights", 100),
    ]
    assert store.stat("jobs/one/attempts/1/checkpoints/0000000005/weights").size_bytes == 100


def test_training_goes_on_during_an_upload_and_the_next_save_waits(
    saver: CheckpointSaver, store: GatedStore, recorded: list[StoredCheckpoint]
) -> None:
    saver.save(checkpoint(1), write, wait=False)
    next_save = threading.Thread(target=saver.save, args=(checkpoint(2), write), kwargs={"wait": True})
    next_save.start()
    next_save.join(0.2)
    assert next_save.is_alive() and recorded == []
    store.gate.set()
    next_save.join(DEADLINE_SECONDS)
    assert [stored.key.step for stored in recorded] == [1, 2]


def test_a_failed_upload_is_raised_by_the_next_save_and_records_nothing(
    saver: CheckpointSaver, store: GatedStore, recorded: list[StoredCheckpoint]
) -> None:
    store.failure = RecipeError("full", reason="STORAGE_FULL")
    store.gate.set()
    saver.save(checkpoint(1), write, wait=False)
    with pytest.raises(RecipeError):
        saver.save(checkpoint(2), write, wait=False)
    assert recorded == []


def test_nothing_stays_in_the_scratch_folder(
    saver: CheckpointSaver, store: GatedStore, tmp_path: Path
) -> None:
    store.gate.set()
    for step in (1, 2):
        saver.save(checkpoint(step), write, wait=True)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_waiting_can_be_bounded(saver: CheckpointSaver, store: GatedStore) -> None:
    saver.save(checkpoint(1), write, wait=False)
    assert not saver.drain(timeout_seconds=0.1)
    store.gate.set()
    assert saver.drain(timeout_seconds=DEADLINE_SECONDS)


kept_lists = st.lists(st.booleans(), max_size=12).map(
    lambda flags: [KeptCheckpoint(CheckpointKey(1, step), best) for step, best in enumerate(flags)]
)


@given(kept=kept_lists, keep_last=st.integers(1, 4), keep_best=st.booleans())
def test_the_policy_keeps_the_newest_and_the_best_and_no_more(
    kept: list[KeptCheckpoint], keep_last: int, keep_best: bool
) -> None:
    superseded = KeepPolicy(keep_last=keep_last, keep_best=keep_best).superseded(kept)
    left = [checkpoint for checkpoint in kept if checkpoint not in superseded]
    best = [checkpoint for checkpoint in kept if checkpoint.best][-1:] if keep_best else []
    assert left[-keep_last:] == kept[-keep_last:]
    assert set(best) <= set(left)
    assert len(left) <= keep_last + len(best)
