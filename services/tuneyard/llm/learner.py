"""All that a fine-tuning changes, in one place, so that saving and restoring it leaves nothing out.

What is restored makes the next step bitwise the one that would have followed: trained weights, optimizer,
loss scale, every random state, the number of threads; the order of samples follows from the step. A frozen
base is in no checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
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
_WEIGHTS, _BEST, _OPTIMIZER, _STATE = (
    "weights.safetensors",
    "best.safetensors",
    "optimizer.pt",
    "training.pt",
)


def load_state(folder: Path) -> dict[str, Any]:
    """What is small in a checkpoint; raises RecipeError CHECKPOINT_CORRUPT."""
    return load_training_state(folder / _STATE, version=_VERSION)


@dataclass(frozen=True)
class BaseLook:
    """How the model did before the first step."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Empty where evaluating it would have taken too long."""
    answers: list[str] = field(default_factory=list)
    """To the held-out prompts, in their order."""


@dataclass
class Learner:
    """A language model in training."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    data: str
    """The identity of the samples and their order: with others a checkpoint cannot go on."""
    folder: Path
    """Where the best weights are kept: on the disk, because those of a full fine-tuning are large."""
    counters: Counters = field(default_factory=Counters)
    curves: Curves = field(default_factory=Curves)
    base: BaseLook | None = None

    def keep_as_best(self) -> None:
        """Writes the trained weights as the best so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Checkpoints are links to the file: it is replaced, never changed.
        written = self.folder / f"{_BEST}.new"
        save_tensors(adapter_state(self.model), written)
        written.replace(self._best)

    def put_best_back(self) -> None:
        """Gives the model the weights of its best evaluation."""
        if self.counters.best_step != self.counters.step:
            load_adapter_state(self.model, load_file(self._best))

    @property
    def _best(self) -> Path:
        return self.folder / _BEST

    def save(self, folder: Path) -> None:
        """Writes everything into an empty folder."""
        counters = self.counters
        has_best = counters.best_value is not None
        if has_best and counters.best_step == counters.step:
            link_or_copy(self._best, folder / _WEIGHTS)
        else:
            save_tensors(adapter_state(self.model), folder / _WEIGHTS)
            if has_best:
                link_or_copy(self._best, folder / _BEST)
        # Apart: of a full fine-tuning it is twice as large as the model, and the rest is read before it.
        save_training_state(
            {"version": _VERSION, "optimizer": self.optimizer.state_dict()}, folder / _OPTIMIZER
        )
        save_training_state(
            {
                "version": _VERSION,
                "counters": counters.state_dict(),
                "curves": self.curves.state_dict(),
                "scaler": self.scaler.state_dict(),
                "precision": self.precision,
                "data": self.data,
                "base": vars(self.base) if self.base else None,
                "random": random_states(),
                "threads": torch.get_num_threads(),
            },
            folder / _STATE,
        )

    def restore(self, folder: Path, state: Mapping[str, Any]) -> None:
        """Goes on where `save` was called; `state` is the folder's, loaded. Raises CHECKPOINT_CORRUPT."""
        try:
            if state["data"] != self.data:
                raise ValueError("made with other samples")
            load_adapter_state(self.model, load_file(folder / _WEIGHTS))
            moments = load_training_state(folder / _OPTIMIZER, version=_VERSION)
            restore_state(self.optimizer, moments["optimizer"])
            restore_scaler(self.scaler, state["scaler"])
            self.counters = Counters.from_state(state["counters"])
            self.curves.load_state_dict(state["curves"])
            self.base = BaseLook(**state["base"]) if state["base"] else None
            if self.counters.best_value is not None:
                best = folder / _BEST
                self._take_best(best if best.exists() else folder / _WEIGHTS)
        except (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
            raise unusable_checkpoint(error) from error
        set_random_states(state["random"])

    def _take_best(self, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._best.unlink(missing_ok=True)
        link_or_copy(path, self._best)
