"""Where a run's first weights come from: the store, torchvision's hub, or, only where asked for, chance."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run
from tuneyard.vision import layouts, networks, weight_files
from tuneyard.vision.architectures import architectures
from tuneyard.vision.bounded_network import bounded_network
from tuneyard.vision.config import ClassifierConfig

RESCALING = ("googlenet", "inception_v3")
"""Their pretrained weights want inputs normalised otherwise, which the networks do themselves."""


def rescales(config: ClassifierConfig) -> bool:
    """Whether the network is built to change the normalisation of its inputs."""
    return config.pretrained and config.architecture in RESCALING


def initial_model(config: ClassifierConfig, classes: int, *, run: Run) -> tuple[nn.Module, str]:
    """The network with the weights that training begins with, and a word on where they came from.

    Never silently random: raises RecipeError BASE_MODEL_UNAVAILABLE where weights are wanted and none can
    be had.
    """
    model = networks.build(
        config.architecture,
        classes=classes,
        image_size=config.image_size,
        dropout=config.dropout,
        rescales=rescales(config),
    )
    if not config.pretrained:
        return model, "random"
    folder = run.model_files()
    weights, source = (_imported(folder), config.base_model) if folder else _from_hub(config.architecture)
    try:
        networks.adopt(model, weights, image_size=config.image_size)
    except ValueError as error:
        raise RecipeError(
            f"The weights of {config.base_model} are not those of {config.architecture}: {error}.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=("Import the weights again and name their architecture.",),
        ) from error
    return model, source


def _imported(folder: Path) -> dict[str, Tensor]:
    """The weights in a model's folder, which a conversion stored there, or somebody else."""
    try:
        return layouts.modern_names(weight_files.read(folder).state)
    except RecipeError as error:
        raise _unavailable(error.message) from error


def _from_hub(architecture: str) -> tuple[dict[str, Tensor], str]:
    """torchvision's recommended weights from its local cache, or over the network into it."""
    weights = networks.default_weights(architecture)
    try:
        with bounded_network():
            state: Any = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise _unavailable(
            f"The pretrained weights {weights.name} of {architecture} are not on this machine, and"
            f" torchvision's hub cannot be reached ({type(error).__name__})."
        ) from error
    return layouts.modern_names(state), f"torchvision {weights.name}"


def _unavailable(message: str) -> RecipeError:
    return RecipeError(
        message,
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=(
            "Import the weights: `tuneyard models import FILE --name NAME`, then use models/NAME.",
            "Set image_classifier.pretrained to false to begin with random weights.",
        ),
    )


def preprocessing(config: ClassifierConfig, *, stored_side: int) -> dict[str, Any]:
    """How an image becomes the network's input, for the model's config.json."""
    architecture = architectures()[config.architecture]
    return {
        "resize_shorter_side": stored_side,
        "center_crop": config.image_size,
        "interpolation": "bicubic",
        "mean": list(architecture.mean),
        "std": list(architecture.std),
    }
