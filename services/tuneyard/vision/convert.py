"""Turns the files of an imported model into what runs start from: model.safetensors and config.json.

Called in a process of its own (see `tuneyard.trainer.convert_child`), because the files are strangers'.
"""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import convert_classifier, hub_files, weight_files

_CLASS_BRANCH = re.compile(r"model\.\d+\.cv3\.0\.2\.weight")
"""A name that detectors have and classifiers do not."""


def convert(files: ModelFiles) -> Converted:
    """Recognises a classifier or a detector; raises RecipeError BASE_MODEL_UNAVAILABLE with what is wrong."""
    revision = hub_files.fetch(files) if files.hub_id else ""
    converted = _convert(files)
    return replace(converted, revision=revision)


def _convert(files: ModelFiles) -> Converted:
    try:
        found = weight_files.read(files.source)
    except weight_files.HoldsCode:
        # A checkpoint of ultralytics names the classes of its network; its reader takes these and no others.
        path = weight_files.pickled(files.source)
        if path is None or not _names_ultralytics(path):
            raise
        with _needs_ultralytics():
            from tuneyard.vision import convert_detector

            return convert_detector.convert_checkpoint(path, files.result, architecture=files.architecture)
    if any(_CLASS_BRANCH.fullmatch(name) for name in found.state):
        with _needs_ultralytics():
            from tuneyard.vision import convert_detector

            return convert_detector.convert(found, files.result, architecture=files.architecture)
    return convert_classifier.convert(found, files.result, architecture=files.architecture)


def _names_ultralytics(path: Path) -> bool:
    """Whether the pickle in a file of torch mentions ultralytics; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(b"ultralytics" in archive.read(name) for name in pickles)
    except (zipfile.BadZipFile, OSError, RuntimeError):
        return False


@contextmanager
def _needs_ultralytics() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RecipeError(
            "The model is a detector, and ultralytics is not installed on the trainer's machine.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=("Install the extra: `pip install 'tuneyard[detector]'`.",),
        ) from error
