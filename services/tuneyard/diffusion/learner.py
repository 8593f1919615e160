"""All that a training changes, in one place, so that saving and restoring it leaves nothing out.

What is restored makes the next step bitwise the one that would have followed: adapters, their moving average,
optimizer, loss scale, every random state, the number of threads; the order of samples, their noise and their
times follow from the step. The frozen base is in no checkpoint.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from tuneyard.recipes.checkpoint_state import (
    load_training_state,
    save_tensors,
    save_training_state,
    unusable_checkpoint,
)
from tuneyard.recipes.counters import Counters
from tuneyard.recipes.optimizers import restore_state
from tuneyard.recipes.precision import Precision, restore_scaler
from tuneyard.recipes.random_states import random_states, set_random_states
from tuneyard.recipes.trained_weights import adapter_state, load_adapter_state
from tuneyard.trainer.curves import Curves
from tuneyard.trainer.linking import link_or_copy

_VERSION = 1
_WEIGHTS, _BEST, _AVERAGE, _STATE = (
    "weights.safetensors",
    "best.safetensors",
    "average.safetensors",
    "training.pt",
)


def load_state(folder: Path) -> dict[str, Any]:
    """What is not weights in a checkpoint; raises RecipeError CHECKPOINT_CORRUPT."""
    return load_training_state(folder / _STATE, version=_VERSION)


class Average:
    """An exponential moving average of the trained weights, in fp32 beside them."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.weights = {name: value.clone() for name, value in adapter_state(model).items()}
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the weights of one more step in; early steps count more, so that the first weights fade."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        newest = adapter_state(model)
        own: list[Tensor] = list(self.weights.values())
        torch._foreach_lerp_(own, [newest[name] for name in self.weights], 1 - decay)


@dataclass
class Learner:
    """The adapted parts of a pipeline in training."""

    model: nn.Module
    """Of the parts by their names: the UNet or transformer, and the text encoders that are adapted."""
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    data: str
    """The identity of the samples and their order: with others a checkpoint cannot go on."""
    folder: Path
    """Where the best weights are kept."""
    average: Average | None = None
    counters: Counters = field(default_factory=Counters)
    curves: Curves = field(default_factory=Curves)
    base_metrics: dict[str, float] | None = None
    """Of the model before the first step; None while they are not measured."""

    @property
    def adapted(self) -> nn.ModuleDict:
        """The model, as its parts."""
        return cast(nn.ModuleDict, self.model)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the weights that are judged and stored: the average where one is kept."""
        if self.average is None:
            yield
            return
        trained = {name: value.clone() for name, value in adapter_state(self.model).items()}
        load_adapter_state(self.model, self.average.weights)
        try:
            yield
        finally:
            load_adapter_state(self.model, trained)

    def keep_as_best(self) -> None:
        """Writes the weights that were judged as the best so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Checkpoints are links to the file: it is replaced, never changed.
        written = self.folder / f"{_BEST}.new"
        save_tensors(self.average.weights if self.average else adapter_state(self.model), written)
        written.replace(self._best)

    def put_best_back(self) -> None:
        """Gives the model the weights of its best evaluation."""
        load_adapter_state(self.model, load_file(self._best))

    @property
    def _best(self) -> Path:
        return self.folder / _BEST

    def save(self, folder: Path) -> None:
        """Writes everything into an empty folder."""
        counters = self.counters
        save_tensors(adapter_state(self.model), folder / _WEIGHTS)
        if self.average:
            save_tensors(self.average.weights, folder / _AVERAGE)
        # The best weights are those of this step or, where an average is kept, its average.
        if counters.best_value is not None and counters.best_step != counters.step:
            link_or_copy(self._best, folder / _BEST)
        save_training_state(
            {
                "version": _VERSION,
                "optimizer": self.optimizer.state_dict(),
                "updates": self.average.updates if self.average else 0,
                "counters": counters.state_dict(),
                "curves": self.curves.state_dict(),
                "scaler": self.scaler.state_dict(),
                "precision": self.precision,
                "data": self.data,
                "base_metrics": self.base_metrics,
                "random": random_states(),
                "threads": torch.get_num_threads(),
            },
            folder / _STATE,
        )

    def restore(self, folder: Path, state: Mapping[str, Any]) -> None:
        """Goes on where `save` was called; `state` is the folder's, loaded.

        Raises RecipeError CHECKPOINT_CORRUPT.
        """
        try:
            if state["data"] != self.data:
                raise ValueError("made with other samples")
            load_adapter_state(self.model, load_file(folder / _WEIGHTS))
            restore_state(self.optimizer, state["optimizer"])
            restore_scaler(self.scaler, state["scaler"])
            self.counters = Counters.from_state(state["counters"])
            self.curves.load_state_dict(state["curves"])
            self.base_metrics = state["base_metrics"]
            self._restore_average(folder, updates=state["updates"])
            if self.counters.best_value is not None:
                self._take_best(folder)
        except (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
            raise unusable_checkpoint(error) from error
        set_random_states(state["random"])

    def _restore_average(self, folder: Path, *, updates: int) -> None:
        if self.average is None:
            return
        stored = load_file(folder / _AVERAGE)
        for name, value in self.average.weights.items():
            value.copy_(stored[name])
        self.average.updates = updates

    def _take_best(self, folder: Path) -> None:
        own = folder / (_AVERAGE if self.average else _WEIGHTS)
        best = folder / _BEST
        self.folder.mkdir(parents=True, exist_ok=True)
        self._best.unlink(missing_ok=True)
        link_or_copy(best if best.exists() else own, self._best)
