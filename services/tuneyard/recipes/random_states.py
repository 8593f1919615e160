"""Random states: seeding all generators, and going on exactly where they stood."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn


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


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
