"""Tells apart why a conversion failed: the converter cannot follow the network, or the machine failed it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneyard.trainer.errors import RecipeError, Stopped
from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.transfers import disk_full, is_disk_full

_OTHER_FORMAT = ("Export to another format, such as safetensors.",)
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "Cannot allocate memory")
"""What onnxruntime and OpenVINO say, in exceptions of their own."""


@contextmanager
def machine_faults_are_told(folder: Path) -> Iterator[None]:
    """Turns a lack of memory, or of space below `folder`, into a RecipeError; passes all else on."""
    try:
        yield
    except (RecipeError, Stopped):
        raise
    except Exception as error:  # libraries tell of both in exceptions of their own
        if told := _fault(error, folder):
            raise told from error
        raise


@contextmanager
def converting(format: str, architecture: str, folder: Path) -> Iterator[None]:
    """Turns what a converter raises into a RecipeError: NOT_SUPPORTED, unless the machine is to blame."""
    try:
        with machine_faults_are_told(folder):
            yield
    except (RecipeError, Stopped):
        raise
    except ImportError as error:
        raise RecipeError(
            f"This trainer cannot write {format} models: {error.name or error} is not installed there.",
            reason="NOT_SUPPORTED",
            remedies=_OTHER_FORMAT,
        ) from error
    except OSError as error:
        raise RecipeError(
            f"The {format} model cannot be written and read: {error.strerror or type(error).__name__}.",
            remedies=("Look at the disk of the trainer's machine, then export again.",),
            retryable=True,
        ) from error
    except Exception as error:  # exporters raise nearly anything on a network that they cannot follow
        cause = [*_causes(error)][-1]
        first = (str(cause).strip().splitlines() or [""])[0]
        raise RecipeError(
            f"{architecture} cannot be converted to {format}: {type(cause).__name__}: {first}"[:500],
            reason="NOT_SUPPORTED",
            remedies=_OTHER_FORMAT,
        ) from error


def _fault(error: Exception, folder: Path) -> RecipeError | None:
    if any(_is_memory(each) for each in _causes(error)):
        return RecipeError(
            "Memory ran out while the model was converted and checked.",
            reason="OUT_OF_MEMORY",
            remedies=("Export again when more of the trainer's memory is free.",),
            retryable=True,
        )
    # OpenVINO says nothing of it.
    if is_disk_full(error) or shutil.disk_usage(folder).free == 0:
        return disk_full()
    return None


def _is_memory(error: BaseException) -> bool:
    return is_out_of_memory(error) or any(text in str(error) for text in _NO_MEMORY)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, innermost last."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
