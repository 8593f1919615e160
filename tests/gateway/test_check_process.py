"""Checks in limited children: verdicts, limits, deaths."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.edge import image_folder
from tuneyard.gateway.check_process import CheckInterrupted, CheckProcess, ValidationLimits


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A sound dataset, large enough that its check takes a moment."""
    path = tmp_path / "data"
    path.write_bytes(image_folder(per_class=200))
    return path


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A path that a reader waits at for ever."""
    path = tmp_path / "data"
    os.mkfifo(path)
    return path


def started(path: Path, limits: ValidationLimits | None = None) -> CheckProcess:
    check = CheckProcess(path, format="image-folder", limits=limits or ValidationLimits())
    check.start()
    return check


def test_a_sound_dataset_is_reported_with_progress(data: Path) -> None:
    check = started(data)
    assert check.read(False).samples == 600
    assert check.fraction > 0.5


def test_a_check_that_needs_too_much_memory_says_so(data: Path) -> None:
    report = started(data, ValidationLimits(memory_bytes=8 * 1024**2)).read(False)
    assert report.has_errors
    assert set(report.counts) <= {"CHECK_OUT_OF_MEMORY", "CHECK_CRASHED"}


def test_a_check_that_hangs_says_so(hanging: Path) -> None:
    check = started(hanging)
    check.expire()
    assert "CHECK_OUT_OF_TIME" in check.read(False).counts


def test_a_check_that_was_killed_from_outside_is_tried_again_but_not_for_ever(hanging: Path) -> None:
    check = started(hanging)
    check.kill()
    with pytest.raises(CheckInterrupted):
        check.read(False)
    last = started(hanging)
    last.kill()
    assert "CHECK_CRASHED" in last.read(True).counts


def test_the_child_does_not_have_our_environment(hanging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEYARD_TOKEN", "hush")
    check = started(hanging)
    environment = Path(f"/proc/{check.pid}/environ").read_bytes()
    check.kill()
    assert b"hush" not in environment


_STARTER = """
import sys, time
from pathlib import Path
from tuneyard.gateway.check_process import CheckProcess, ValidationLimits
check = CheckProcess(Path(sys.argv[1]), format="image-folder", limits=ValidationLimits())
check.start()
print(check.pid, flush=True)
time.sleep(60)
"""


def test_the_child_dies_with_the_gateway(hanging: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", _STARTER, str(hanging)], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter, starter.stdout:
        child = psutil.Process(int(starter.stdout.readline()))
        assert child.is_running()
        starter.kill()
    child.wait(60)
