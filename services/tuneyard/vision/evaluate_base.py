"""The model that a classifier's training began with, or why measuring that would say nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.run import Run
from tuneyard.vision import networks
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.weights import initial_model


@dataclass(frozen=True)
class Base:
    """A base model that knows the same classes."""

    model: nn.Module
    name: str


def base_or_reason(
    config: EvaluateConfig, source: ClassifierConfig, *, classes: Sequence[str], run: Run
) -> Base | str:
    """The base model, or why there is no comparison, in a sentence for people.

    Training keeps the base model's head only where it fits; with a new, random head the base says nothing.
    """
    if not config.compare_with_base:
        return "A comparison with the base model was not asked for."
    if not source.pretrained:
        return "The training began with random weights: there is no base model to compare with."
    folder = run.model_files()
    if folder is None and source.base_model.startswith("models/"):
        return f"The base model {source.base_model} is no longer in the store."
    known = (
        _classes_in(folder) if folder else networks.default_weights(source.architecture).meta["categories"]
    )
    if known is not None and list(known) != list(classes):
        return (
            f"The base model {source.base_model} recognises {len(known)} other classes: training gave it a"
            " new head, so that it has no answers to compare with."
        )
    try:
        model, name, fits = _began_with(source, len(classes), run)
    except RecipeError as error:
        return f"The base model cannot be had: {error.message}"
    if not fits:
        return (
            f"The head of the base model {source.base_model} is for another number of classes: training gave"
            " it a new one, so that it has no answers to compare with."
        )
    return Base(model.eval(), name)


def _classes_in(folder: Path) -> list[str] | None:
    """The classes of a stored model in their order; None where it does not tell."""
    for path in sorted(folder.rglob("config.json")):
        classes = json.loads(path.read_text(encoding="utf-8")).get("classes")
        if isinstance(classes, list):
            return [str(name) for name in classes]
    return None


def _began_with(source: ClassifierConfig, classes: int, run: Run) -> tuple[nn.Module, str, bool]:
    """The model at the training's first step, its name, and whether its head came from the base."""
    heads: list[list[Tensor]] = []
    with torch.random.fork_rng(devices=[]):
        # A head that was drawn is another one each time; one that was taken over is not.
        for seed in (1, 2):
            torch.manual_seed(seed)
            model, name = initial_model(source, classes, run=run)
            heads.append(list(networks.head(model).parameters()))
    fits = all(torch.equal(first, second) for first, second in zip(*heads, strict=True) if first.dim() > 1)
    return model, name, fits
