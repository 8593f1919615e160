"""All that a detector's training changes, in one place, so that saving and restoring it leaves nothing out.

The order of the images and their augmentation are not here: they follow from the seed and the step. What is
restored makes the next step bitwise the one that would have followed, with the same number of threads.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.recipes.checkpoint_state import save_tensors, unusable_checkpoint
from tuneyard.recipes.counters import Counters
from tuneyard.recipes.optimization import allocate_state, decay_groups
from tuneyard.recipes.precision import Precision, restore_scaler
from tuneyard.trainer.curves import Curves
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_offline import ModelEMA

_VERSION = 1
_MODEL, _AVERAGE, _BEST, _OPTIMIZER = (
    "model.safetensors",
    "average.safetensors",
    "best.safetensors",
    "optimizer.safetensors",
)
_STATE = "training.json"


@dataclass
class DetectorLearner:
    """A detector in training."""

    model: nn.Module
    optimizer: Optimizer
    average: Any
    """ultralytics' moving average of weights and statistics: what is evaluated and stored."""
    scaler: torch.amp.GradScaler
    precision: Precision
    source: str
    """Where the first weights came from."""
    class_width: int
    """The width of the head's class branch, which the first weights decide."""
    counters: Counters = field(default_factory=Counters)
    curves: Curves = field(default_factory=Curves)
    best_weights: dict[str, Tensor] | None = None
    """On the host: the averaged weights at `counters.best_step`."""

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is judged and stored."""
        return cast(nn.Module, self.average.ema)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The weights that the optimizer changes."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def keep_as_best(self) -> None:
        """Copies the averaged weights as the best so far."""
        state = self.evaluated_model.state_dict()
        self.best_weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, folder: Path) -> None:
        """Writes everything into an empty folder: tensors as safetensors, numbers as JSON."""
        save_tensors(self.model.state_dict(), folder / _MODEL)
        save_tensors(self.evaluated_model.state_dict(), folder / _AVERAGE)
        # At the best step itself the weights stand in the folder already.
        if self.best_weights is not None and self.counters.best_step != self.counters.step:
            save_tensors(self.best_weights, folder / _BEST)
        save_tensors(dict(self._moments()), folder / _OPTIMIZER)
        state = {
            "version": _VERSION,
            "counters": self.counters.state_dict(),
            "curves": self.curves.state_dict(),
            "average_updates": self.average.updates,
            "scaler": self.scaler.state_dict(),
            "precision": self.precision,
            "source": self.source,
            "class_width": self.class_width,
            "threads": torch.get_num_threads(),
        }
        (folder / _STATE).write_text(json.dumps(state))

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for number, parameter in enumerate(self.trained):
            for name, value in self.optimizer.state[parameter].items():
                yield f"{number}.{name}", value

    def restore(self, folder: Path) -> None:
        """Goes on where `save` was called; raises RecipeError CHECKPOINT_CORRUPT."""
        state = load_training_state(folder)
        try:
            self.model.load_state_dict(load_file(folder / _MODEL))
            self.evaluated_model.load_state_dict(load_file(folder / _AVERAGE))
            moments = load_file(folder / _OPTIMIZER)
            for name, value in self._moments():
                value.copy_(moments.pop(name))
            if moments:
                raise ValueError(f"{len(moments)} values too many of the optimizer")
            self.average.updates = state["average_updates"]
            restore_scaler(self.scaler, state["scaler"])
            self.counters = Counters.from_state(state["counters"])
            self.curves.load_state_dict(state["curves"])
            if (folder / _BEST).exists():
                self.best_weights = load_file(folder / _BEST)
            elif self.counters.best_step == self.counters.step and self.counters.best_value is not None:
                self.keep_as_best()
        except (KeyError, OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
            raise unusable_checkpoint(error) from error


def load_training_state(folder: Path) -> dict[str, Any]:
    """The numbers of a checkpoint; raises RecipeError CHECKPOINT_CORRUPT."""
    try:
        state = json.loads((folder / _STATE).read_text())
    except (OSError, ValueError) as error:
        raise unusable_checkpoint(error) from error
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise unusable_checkpoint(ValueError("of another release"))
    return state


def make_average(model: nn.Module) -> Any:
    """ultralytics' average: its decay grows from 0 to 0.9999 over some thousand steps."""
    return ModelEMA(model)  # type: ignore[no-untyped-call]


def freeze(model: nn.Module, layers: int) -> None:
    """Takes the first layers out of training; raises RecipeError INVALID_FIELD if nothing would be left."""
    blocks = list(cast(Any, model).model)
    if layers >= len(blocks):
        raise RecipeError(
            f"freeze_layers: the network has {len(blocks)} layers, and the last one has to be trained.",
            reason="INVALID_FIELD",
            remedies=(f"Set object_detector.freeze_layers to {len(blocks) - 1} at most.",),
        )
    for block in blocks[:layers]:
        block.requires_grad_(False)
    # The fixed weights that turn a distribution over distances into one.
    for name, parameter in model.named_parameters():
        if ".dfl" in name:
            parameter.requires_grad_(False)


def set_training(model: nn.Module, *, frozen_layers: int) -> None:
    """Training mode, but for the statistics of layers that are not trained."""
    model.train()
    for block in list(cast(Any, model).model)[:frozen_layers]:
        block.eval()


def make_optimizer(model: nn.Module, config: DetectorConfig) -> Optimizer:
    """The optimizer over the trained weights, its state allocated: memory runs out here or not at all.

    Biases and the weights of norms are not decayed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = decay_groups(trained, weight_decay=config.weight_decay)
    optimizer: Optimizer
    if config.optimizer == "sgd":
        momentum = config.momentum
        optimizer = SGD(groups, lr=config.learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    else:
        optimizer = AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), fused=True)
    allocate_state(optimizer)
    return optimizer


def class_weights(config: DetectorConfig, classes: Sequence[str], boxes: Sequence[int]) -> Tensor | None:
    """The weight of each class in the classification loss, or None where all are equal.

    Balanced weights are the inverse of the class's boxes, scaled to a mean of 1 over the classes.
    """
    if not config.balance_classes and not config.class_weights:
        return None
    weights = torch.ones(len(classes))
    if config.balance_classes:
        weights = 1 / torch.tensor(boxes, dtype=torch.float32).clamp(min=1)
        weights /= weights.mean()
    for number, name in enumerate(classes):
        weights[number] = config.class_weights.get(name, float(weights[number]))
    return weights
