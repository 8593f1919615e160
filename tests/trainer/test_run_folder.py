import os
from pathlib import Path

import pytest

from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.process import ProcessIdentity
from tuneyard.trainer.run_folder import RunFolder, RunKey
from tuneyard.v1.trainer_service_pb2 import RunExit, StartRunRequest, StopMode


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(
        tmp_path / "a-1", request=StartRunRequest(job="jobs/a", attempt=1), device="cuda:1"
    )


def test_what_was_asked_is_read_back(folder: RunFolder) -> None:
    folder.sync()
    again = RunFolder(folder.path)
    assert again.read_request() == StartRunRequest(job="jobs/a", attempt=1)
    assert again.read_device() == "cuda:1"
    assert again.read_exit() is None and again.read_worker() is None


def test_a_folder_without_a_whole_request_is_no_runs(tmp_path: Path) -> None:
    (tmp_path / "b-1").mkdir()
    assert RunFolder(tmp_path / "b-1").read_request() is None
    (tmp_path / "b-1" / "request.pb").write_bytes(b"")
    assert RunFolder(tmp_path / "b-1").read_request() is None


def test_a_worker_that_has_the_control_file_open_sees_the_stop(folder: RunFolder) -> None:
    control = os.open(folder.path / "control", os.O_RDONLY)
    assert os.pread(control, 1, 0) == b"0"
    folder.write_control(StopMode.STOP_MODE_PAUSE)
    assert os.pread(control, 1, 0) == b"1"
    folder.write_control(StopMode.STOP_MODE_CANCEL)
    assert os.pread(control, 1, 0) == b"2"
    os.close(control)


def test_a_worker_of_another_boot_is_forgotten(folder: RunFolder) -> None:
    folder.write_worker(ProcessIdentity(12, 34))
    assert folder.read_worker() == ProcessIdentity(12, 34)
    text = (folder.path / "worker.json").read_text()
    (folder.path / "worker.json").write_text(text.replace('"boot_id": "', '"boot_id": "other-'))
    assert folder.read_worker() is None


def test_an_exit_is_read_back(folder: RunFolder) -> None:
    folder.write_exit(RunExit(signal=9, last_run_sequence=4))
    assert RunFolder(folder.path).read_exit() == RunExit(signal=9, last_run_sequence=4)


@pytest.mark.parametrize(
    ("job", "attempt"), [("a", 1), ("jobs/../a", 1), ("jobs/a/b", 1), ("jobs/a", 0), ("", 1)]
)
def test_a_key_that_no_run_can_have_is_refused(job: str, attempt: int) -> None:
    with pytest.raises(TuneyardError) as refused:
        RunKey.of(job, attempt)
    assert refused.value.reason == "INVALID_FIELD"
