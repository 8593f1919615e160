"""All that training changes, in one place, so that saving and restoring it leaves nothing out.

What is restored makes the next step bitwise the one that would have followed: weights, optimizer, average,
loss scale, every random state, the order of samples and the place in it, the number of threads.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from tuneyard.trainer.curves import Curves
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.batches import Augmenter, SampleOrder
from tuneyard.vision.optimization import WeightAverage
from tuneyard.vision.precision import Precision

_VERSION = 2
_MAX_POINTS = 1000


@dataclass
class LossHistory:
    """The training loss of about a thousand evenly spaced steps, however long the run."""

    points: list[tuple[int, float]] = field(default_factory=list)
    stride: int = 1

    def add(self, step: int, loss: float) -> None:
        """Keeps the point if it is a multiple of the stride; halves the points when there are too many."""
        if step % self.stride:
            return
        self.points.append((step, loss))
        if len(self.points) > _MAX_POINTS:
            self.stride *= 2
            self.points = [point for point in self.points if point[0] % self.stride == 0]


@dataclass
class Counters:
    """Where training stands, in numbers."""

    step: int = 0
    evaluated_step: int = 0
    """The step at which the model was last evaluated."""
    saved_step: int = 0
    best_value: float | None = None
    """Of the watched metric."""
    best_step: int = 0
    evaluations_since_best: int = 0
    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Every evaluation's step and metrics."""
    losses: LossHistory = field(default_factory=LossHistory)
    rate_factor: float = 1.0
    """By which the spec's learning rate is multiplied: a half once the training has diverged."""


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
        _save_tensors(self.model.state_dict(), folder / "model.safetensors")
        if self.average:
            _save_tensors(self.average.model.state_dict(), folder / "average.safetensors")
        # At the best step itself the weights stand in the folder already.
        if self.best_weights is not None and self.counters.best_step != self.counters.step:
            _save_tensors(self.best_weights, folder / "best.safetensors")
        counters = self.counters
        torch.save(
            {
                "version": _VERSION,
                "counters": vars(counters) | {"losses": vars(counters.losses)},
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
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average:
                self.average.model.load_state_dict(load_file(folder / "average.safetensors"))
                self.average.updates = state["average_updates"]
            self.scaler.load_state_dict(state["scaler"])
            self.order.load_state_dict(state["order"])
            self.augmenter.load_state_dict(state["augmenter"])
            counters = dict(state["counters"])
            losses = LossHistory(**counters.pop("losses"))
            self.counters = Counters(**counters, losses=losses)
            self.curves.load_state_dict(state["curves"])
            if (folder / "best.safetensors").exists():
                self.best_weights = load_file(folder / "best.safetensors")
            elif self.counters.best_step == self.counters.step and self.counters.best_value is not None:
                self.keep_as_best()
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise _unusable(error) from error
        set_random_states(state["random"])


def is_finite(model: nn.Module) -> bool:
    """Whether every weight and buffer is a number.

    By their sums, which one that is none spoils: a tenth of the time that looking at each would take.
    """
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    with torch.no_grad():
        return bool(torch.stack([tensor.sum().float() for tensor in tensors]).isfinite().all())


def load_training_state(folder: Path) -> dict[str, Any]:
    """What is in a checkpoint beside the weights: only plain values and tensors are ever unpickled."""
    try:
        state = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises nearly anything on foreign bytes
        raise _unusable(error) from error
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise _unusable(ValueError("of another release"))
    return cast(dict[str, Any], state)


def _unusable(error: Exception) -> RecipeError:
    return RecipeError(
        f"The checkpoint cannot be continued: {type(error).__name__}.",
        reason="CHECKPOINT_CORRUPT",
        remedies=("Run the job again from its beginning (`tuneyard jobs rerun`).",),
    )


def _save_tensors(state: dict[str, Tensor], path: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, path)


def seed_everything(seed: int) -> None:
    """Seeds the global generators: initial weights and dropout draw from torch's, libraries from any."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_states() -> dict[str, Any]:
    """The states of the global generators, as values that are safe to load."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
    }
    if _cuda_in_use():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Puts the global generators back."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    name, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    if "cuda" in states and _cuda_in_use():
        torch.cuda.set_rng_state(states["cuda"])


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


class StepStart:
    """What a forward pass changes, so that a step can be repeated: buffers and random states."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._buffers = [buffer for buffer in model.buffers() if buffer.numel()]
        self._saved = [buffer.clone() for buffer in self._buffers]

    def snapshot(self) -> dict[str, Any]:
        """Remembers how things are before the step."""
        if self._buffers:
            torch._foreach_copy_(self._saved, self._buffers)
        states = {"torch": torch.get_rng_state()}
        if _cuda_in_use():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def restore(self, states: dict[str, Any]) -> None:
        """Puts everything back and drops the gradients."""
        with torch.no_grad():
            if self._buffers:
                torch._foreach_copy_(self._buffers, self._saved)
        torch.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"])
        for parameter in self._model.parameters():
            parameter.grad = None
