"""Where a detector's first weights come from: the store, ultralytics' releases, or, only if asked, chance."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run
from tuneyard.vision.bounded_network import bounded_network
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_model import (
    WEIGHTS_FILE,
    UltralyticsCheckpoint,
    adopt,
    build,
    load_detector,
    load_ultralytics_checkpoint,
)
from tuneyard.vision.detector_offline import attempt_download_asset

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
        found, source = _imported(folder), config.base_model
    else:
        found = load_ultralytics_checkpoint(_released(config.architecture, run))
        source = f"ultralytics {config.architecture}.pt"
    try:
        adopt(model, config.architecture, found.weights, found.classes)
    except ValueError as error:
        raise _unavailable(f"The weights of {config.base_model} cannot be used: {error}.") from error
    return model, source


def _imported(folder: Path) -> UltralyticsCheckpoint:
    """The weights in a model's folder, as a training or a conversion stored them, or as ultralytics did."""
    checkpoints = sorted(folder.glob("*.pt"))
    if checkpoints and not (folder / WEIGHTS_FILE).exists():
        return load_ultralytics_checkpoint(checkpoints[0])
    loaded = load_detector(folder)
    return UltralyticsCheckpoint(loaded.model.state_dict(), loaded.architecture, loaded.classes)


def _released(architecture: str, run: Run) -> Path:
    """ultralytics' published weights from the trainer's cache, or over the network into it."""
    name = f"{architecture}.pt"

    def build_entry(folder: Path) -> None:
        run.check_stop()
        try:
            with bounded_network():
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
