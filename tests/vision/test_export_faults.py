import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.vision.export_check import CheckInputs, check
from tuneyard.vision.export_faults import converting


def told(error: BaseException, folder: Path) -> RecipeError:
    """What a user reads of a converter that raises."""
    with pytest.raises(RecipeError) as caught, converting("ONNX", "resnet18", folder):
        raise error
    return caught.value


def wrapped(cause: Exception) -> Exception:
    """As torch's exporter tells of what went wrong inside it."""
    try:
        raise RuntimeError("Failed to export the model.") from cause
    except RuntimeError as error:
        return error


class ForeignError(Exception):
    """As libraries have them that are written in another language."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        wrapped(MemoryError()),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        ForeignError("std::bad_alloc"),
        ForeignError("Failed to allocate memory for requested buffer of size 8"),
    ],
    ids=["python", "wrapped", "torch", "openvino", "onnxruntime"],
)
def test_a_lack_of_memory_is_not_the_networks_fault(tmp_path: Path, error: Exception) -> None:
    found = told(error, tmp_path)
    assert (found.reason, found.retryable) == ("OUT_OF_MEMORY", True)
    assert "batch_size" not in str(found.remedies)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        wrapped(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))),
        ForeignError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_nor_is_a_full_disk(tmp_path: Path, error: Exception) -> None:
    found = told(error, tmp_path)
    assert (found.reason, found.message) == ("STORAGE_FULL", "The trainer's disk is full.")


def test_a_disk_without_room_is_what_failed_a_writer_that_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("basic_ios::clear: iostream error")
    assert told(error, tmp_path).reason == "NOT_SUPPORTED"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=9, used=9, free=0))
    assert told(error, tmp_path).reason == "STORAGE_FULL"


def test_other_faults_of_a_disk_are_told_as_such(tmp_path: Path) -> None:
    found = told(OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path)), tmp_path)
    assert (found.reason, found.retryable) == ("RECIPE_FAILED", True)
    assert found.message == "The ONNX model cannot be written and read: Input/output error."


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    found = told(ModuleNotFoundError("No module named 'onnx'", name="onnx"), tmp_path)
    assert found.reason == "NOT_SUPPORTED" and "onnx is not installed" in found.message


def test_what_a_converter_cannot_follow_is_told_by_its_cause(tmp_path: Path) -> None:
    found = told(wrapped(ValueError("data-dependent branch\nand a trace")), tmp_path)
    assert found.reason == "NOT_SUPPORTED"
    assert found.message == "resnet18 cannot be converted to ONNX: ValueError: data-dependent branch"


def test_a_stop_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(Stopped), converting("ONNX", "resnet18", tmp_path):
        raise Stopped(Stop.CANCEL)


def test_a_model_that_gives_no_numbers_is_not_taken_for_converted() -> None:
    inputs = CheckInputs(torch.ones(2, 3, 4, 4), "images of datasets/d")
    for nothing in (float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="itself gives values that are no finite numbers") as caught:
            check(lambda x, of=nothing: x * of, lambda x: x, inputs, format="ONNX")
        assert "images of datasets/d" in caught.value.message
