"""All that training changes, in one place, so that saving and restoring it leaves nothing out.

What is restored makes the next step bitwise the one that would have followed: weights, optimizer, average,
loss scale, every random state, the order of samples and the place in it, the number of threads.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from tuneyard.recipes import checkpoint_state
from tuneyard.recipes.checkpoint_state import save_tensors, save_training_state, unusable_checkpoint
from tuneyard.recipes.counters import Counters
from tuneyard.recipes.optimizers import restore_state
from tuneyard.recipes.precision import Precision, restore_scaler
from tuneyard.recipes.random_states import random_states, set_random_states
from tuneyard.trainer.curves import Curves
from tuneyard.vision.batches import Augmenter, SampleOrder
from tuneyard.vision.optimization import WeightAverage

_VERSION = 2


@dataclass
class Learner:
    """A model in training."""

    model: nn.Module
    optimizer: Optimizer
    order: SampleOrder
    augmenter: Augmenter
    precision: Precision
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    source: str
    """Where the first weights came from."""
    counters: Counters = field(default_factory=Counters)
    curves: Curves = field(default_factory=Curves)
    best_weights: dict[str, Tensor] | None = None
    """On the host: the evaluated weights at `counters.best_step`."""

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is judged and stored: the average where there is one."""
        return self.average.model if self.average else self.model

    def keep_as_best(self) -> None:
        """Copies the evaluated weights as the best so far."""
        state = self.evaluated_model.state_dict()
        self.best_weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, folder: Path) -> None:
        """Writes everything into an empty folder."""
        save_tensors(self.model.state_dict(), folder / "model.safetensors")
        if self.average:
            save_tensors(self.average.model.state_dict(), folder / "average.safetensors")
        # At the best step itself the weights stand in the folder already.
        if self.best_weights is not None and self.counters.best_step != self.counters.step:
            save_tensors(self.best_weights, folder / "best.safetensors")
        save_training_state(
            {
                "version": _VERSION,
                "counters": self.counters.state_dict(),
                "curves": self.curves.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average_updates": self.average.updates if self.average else 0,
                "scaler": self.scaler.state_dict(),
                "precision": self.precision,
                "source": self.source,
                "order": self.order.state_dict(),
                "augmenter": self.augmenter.state_dict(),
                "random": random_states(),
                "threads": torch.get_num_threads(),
            },
            folder / "training.pt",
        )

    def restore(self, folder: Path) -> None:
        """Goes on where `save` was called; raises RecipeError CHECKPOINT_CORRUPT."""
        state = load_training_state(folder)
        try:
            self.model.load_state_dict(load_file(folder / "model.safetensors"))
            restore_state(self.optimizer, state["optimizer"])
            if self.average:
                self.average.model.load_state_dict(load_file(folder / "average.safetensors"))
                self.average.updates = state["average_updates"]
            restore_scaler(self.scaler, state["scaler"])
            self.order.load_state_dict(state["order"])
            self.augmenter.load_state_dict(state["augmenter"])
            self.counters = Counters.from_state(state["counters"])
            self.curves.load_state_dict(state["curves"])
            if (folder / "best.safetensors").exists():
                self.best_weights = load_file(folder / "best.safetensors")
            elif self.counters.best_step == self.counters.step and self.counters.best_value is not None:
                self.keep_as_best()
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise unusable_checkpoint(error) from error
        set_random_states(state["random"])


def load_training_state(folder: Path) -> dict[str, Any]:
    """What is in a checkpoint beside the weights; raises RecipeError CHECKPOINT_CORRUPT."""
    return checkpoint_state.load_training_state(folder / "training.pt", version=_VERSION)
