"""A finished classifier as its job stored it: the network with its weights, and what is needed to feed it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tuneyard.recipes.precision import Precision
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import networks
from tuneyard.vision.batches import Augmenter
from tuneyard.vision.config import Augmentation

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"


@dataclass(frozen=True)
class StoredClassifier:
    """A classifier that is ready to be asked, on the host, in float32."""

    model: nn.Module
    architecture: str
    classes: tuple[str, ...]
    image_size: int
    stored_side: int
    """The shorter side in px to which images are resized before the middle is cut out."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescales: bool
    dropout: float
    precision: Precision
    """In which the training evaluated."""
    manifest: Mapping[str, Any]
    """Of the training; empty where there is none."""

    def augmenter(self, device: torch.device) -> Augmenter:
        """Renders images as the training evaluated them."""
        return Augmenter(
            Augmentation(), image_size=self.image_size, mean=self.mean, std=self.std, seed=0, device=device
        )


def load_stored(folder: Path) -> StoredClassifier:
    """The classifier whose files lie in a folder. Raises RecipeError MODEL_NOT_FOUND."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = networks.build(
            config["architecture"],
            classes=len(config["classes"]),
            image_size=config["image_size"],
            dropout=config["dropout"],
            rescales=config["transform_input"],
        )
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise RecipeError(
            f"The files hold no classifier that can be loaded ({type(error).__name__}).",
            reason="MODEL_NOT_FOUND",
            remedies=("Name a job that trained an image classifier and whose artifacts are complete.",),
        ) from error
    manifest = folder / MANIFEST
    facts = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    preprocessing = config["preprocessing"]
    return StoredClassifier(
        model=model.eval(),
        architecture=config["architecture"],
        classes=tuple(config["classes"]),
        image_size=config["image_size"],
        stored_side=preprocessing["resize_shorter_side"],
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        rescales=config["transform_input"],
        dropout=config["dropout"],
        precision=facts.get("precision", "fp32"),
        manifest=facts,
    )
