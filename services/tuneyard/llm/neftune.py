"""NEFTune (Jain et al. 2023): noise on the embeddings while training, scaled by the length of the input."""

from typing import Any, Self

import torch
from torch import Tensor, nn


class Neftune:
    """Adds uniform noise of ± alpha / sqrt(length · width) to a model's input embeddings in training mode.

    A context: within it the noise is on. The noise comes from torch's global generator, so that a resumed
    training draws what an uninterrupted one would. The length is that of the row.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self._embeddings: nn.Module = model.get_input_embeddings()
        self._alpha = alpha
        self._hook = self._embeddings.register_forward_hook(self._noise) if alpha > 0 else None

    def remove(self) -> None:
        """Leaves the model as it was."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _noise(self, module: nn.Module, _args: Any, embedded: Tensor) -> Tensor | None:
        if not module.training:
            return None
        bound = self._alpha / (embedded.shape[-2] * embedded.shape[-1]) ** 0.5
        return embedded + torch.empty_like(embedded).uniform_(-bound, bound)
