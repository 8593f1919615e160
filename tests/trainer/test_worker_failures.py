"""What a worker records when a run fails, and what it keeps to itself."""

import errno
import os

import pytest

from tests.support.worker_folder import MakeFolder
from tuneyard.storage import FolderStore, StoreUnavailable
from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES
from tuneyard.trainer.fake import entry
from tuneyard.trainer.settings import OUT_OF_MEMORY_EXIT_CODE
from tuneyard.trainer.worker import describe
from tuneyard.v1.errors_pb2 import ErrorReason
from tuneyard.v1.event_pb2 import Checkpoint, StoredFile
from tuneyard.v1.trainer_service_pb2 import StartRunRequest


def test_an_unexpected_error_is_told_without_a_path(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:raise_at=3")
    assert folder.work() == 0
    [error] = folder.bodies("failed")
    assert error.reason == ErrorReason.ERROR_REASON_RECIPE_FAILED
    assert error.stage == "train"
    assert error.message == (
        "The recipe failed in the stage train: ValueError: cannot read …/weights.bin: scripted"
    )


def test_a_recipes_own_error_keeps_its_words(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:fail_at=3")
    folder.work()
    [error] = folder.bodies("failed")
    assert error.message == "The script says to fail." and list(error.remedies)


def test_an_error_that_was_foreseen_is_one_line_of_the_trainers_log(
    worker_folder: MakeFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    worker_folder("fake:fail_at=3").work()
    assert capfd.readouterr().err == "RECIPE_FAILED: The script says to fail.\n"


def test_an_unexpected_error_has_its_traceback_in_the_trainers_log(
    worker_folder: MakeFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    worker_folder("fake:raise_at=3").work()
    written = capfd.readouterr().err
    assert "Traceback" in written and "ValueError" in written


def test_a_sample_that_never_fits_fails_with_the_guides_remedies(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=5")
    folder.settings = {"faults": "oom@step=2"}
    folder.worker_settings().write(folder.path / "settings.json")
    folder.work()
    [error] = folder.bodies("failed")
    assert error.reason == ErrorReason.ERROR_REASON_OUT_OF_MEMORY
    assert any("batch_size" in remedy for remedy in error.remedies)


def test_memory_short_elsewhere_is_met_with_the_familys_own_remedies(
    worker_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker_folder("fake:steps=5")
    folder.settings = {"faults": "oom@prepare"}
    folder.worker_settings().write(folder.path / "settings.json")
    asked: list[StartRunRequest] = []

    def remedies(request: StartRunRequest) -> tuple[str, ...]:
        asked.append(request)
        return ("Draw smaller.",)

    monkeypatch.setattr(entry, "out_of_memory_remedies", remedies, raising=False)
    folder.work()
    [error] = folder.bodies("failed")
    assert (error.stage, list(error.remedies)) == ("prepare_data", ["Draw smaller."])
    assert asked == [folder.start_request()]


def test_remedies_that_cannot_be_told_keep_no_end_from_the_journal(
    worker_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker_folder("fake:steps=5")
    folder.settings = {"faults": "oom@prepare"}
    folder.worker_settings().write(folder.path / "settings.json")
    monkeypatch.setattr(entry, "out_of_memory_remedies", "no function", raising=False)
    assert folder.work() == 0
    [error] = folder.bodies("failed")
    assert tuple(error.remedies) == OUT_OF_MEMORY_REMEDIES


def test_memory_short_in_the_update_asks_for_another_attempt(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=20,save=5,optimizer_oom_at=12")
    assert folder.work() == OUT_OF_MEMORY_EXIT_CODE
    assert folder.last() not in ("failed", "result")
    assert folder.kept()[-1].step == 10


def test_a_damaged_checkpoint_is_refused(worker_folder: MakeFolder) -> None:
    first = worker_folder("fake:steps=10,save=5,fail_at=8")
    first.work()
    [file] = [f for f in first.kept()[0].files if f.path == "weights.npy"]
    first.store().put(file.key, b"something else")
    second = first.next()
    second.work()
    assert second.bodies("failed")[0].reason == ErrorReason.ERROR_REASON_CHECKPOINT_CORRUPT


def test_a_checkpoints_file_cannot_lead_out_of_its_folder(worker_folder: MakeFolder) -> None:
    evil = StoredFile(path="../../evil", key="jobs/one/evil", sha256="0" * 64)
    folder = worker_folder("fake:steps=1", checkpoint=Checkpoint(attempt=1, step=1, files=[evil]))
    folder.work()
    assert folder.bodies("failed")[0].reason == ErrorReason.ERROR_REASON_CHECKPOINT_CORRUPT


def test_a_store_that_stays_away_fails_the_run(
    worker_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    folder = worker_folder("fake:steps=5")
    folder.settings = {"store_patience": folder.worker_settings().store_patience / 50}
    folder.worker_settings().write(folder.path / "settings.json")
    monkeypatch.setattr(FolderStore, "put_file", away)
    folder.work()
    [error] = folder.bodies("failed")
    assert error.reason == ErrorReason.ERROR_REASON_STORE_UNAVAILABLE and error.retryable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no such file: '/srv/a b/c.pt'", "no such file: '…/a b/c.pt'"),
        ("open /home/me/data/x.png failed", "open …/x.png failed"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("rate 3/4 and and/or", "rate 3/4 and and/or"),
    ],
)
def test_paths_are_taken_out_of_messages(text: str, expected: str) -> None:
    assert describe(ValueError(text)).message == f"The recipe failed: ValueError: {expected}"


def test_a_full_disk_is_told_whatever_library_met_it() -> None:
    for error in (
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):
        assert describe(error, stage="save").reason == "STORAGE_FULL"


def test_an_error_names_the_stage_that_it_ended(worker_folder: MakeFolder) -> None:
    run = worker_folder().run()
    with pytest.raises(KeyError), run.stage("prepare_data"), run.stage("read_cache"):
        raise KeyError
    assert run.failed_stage == "read_cache"
    with run.stage("train"):
        assert run.failed_stage == ""
    run.close()
