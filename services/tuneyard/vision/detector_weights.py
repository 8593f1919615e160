"""Where a detector's first weights come from: the store, ultralytics' releases, or, only if asked, chance."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_model import adopt, build, load_detector, load_ultralytics_checkpoint
from tuneyard.vision.detector_offline import attempt_download_asset

_NETWORK_TIMEOUT_SECONDS = 15.0
_ATTEMPTS = 1
_CACHE = "detector-weights"


def initial_detector(config: DetectorConfig, classes: Sequence[str], *, run: Run) -> tuple[nn.Module, str]:
    """The network that training begins with, and a word on where its weights came from.

    Never silently random: raises RecipeError BASE_MODEL_UNAVAILABLE where weights are wanted and none can
    be had.
    """
    model = build(config.architecture, classes)
    if not config.pretrained:
        return model, "random"
    if folder := run.model_files():
        loaded = load_detector(folder)
        weights, names, source = loaded.model.state_dict(), loaded.classes, config.base_model
        if loaded.architecture != config.architecture:
            raise _unavailable(
                f"The weights of {config.base_model} are those of {loaded.architecture}, not of"
                f" {config.architecture}."
            )
    else:
        checkpoint = load_ultralytics_checkpoint(_released(config.architecture, run))
        weights, names = checkpoint.weights, checkpoint.classes
        source = f"ultralytics {config.architecture}.pt"
    try:
        adopt(model, config.architecture, weights, names)
    except ValueError as error:
        raise _unavailable(f"The weights of {config.base_model} cannot be used: {error}.") from error
    return model, source


def _released(architecture: str, run: Run) -> Path:
    """ultralytics' published weights from the trainer's cache, or over the network into it."""
    name = f"{architecture}.pt"

    def build_entry(folder: Path) -> None:
        run.check_stop()
        try:
            with _bounded_network():
                attempt_download_asset(folder / name, retry=_ATTEMPTS, progress=False)
        except Exception as error:  # of whichever library carries the request
            raise _unreachable(name, type(error).__name__) from error
        if not (folder / name).is_file():
            raise _unreachable(name, "nothing arrived")

    return run.cached(_CACHE, name, build_entry) / name


def _unreachable(name: str, why: str) -> RecipeError:
    return _unavailable(
        f"The pretrained weights {name} are not on this machine, and ultralytics' releases cannot be reached"
        f" ({why})."
    )


def _unavailable(message: str) -> RecipeError:
    return RecipeError(
        message,
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=(
            "Import the weights: `tuneyard models import FILE.pt --name NAME`, then use models/NAME.",
            "Set object_detector.pretrained to false to begin with random weights.",
        ),
    )


@contextmanager
def _bounded_network() -> Iterator[None]:
    """Without this, a server that never answers would hold the run for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
