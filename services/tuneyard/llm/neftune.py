"""NEFTune (Jain et al. 2023): noise on the embeddings while training, scaled by the length of the sample."""

from typing import Any, Self

import torch
from torch import Tensor, nn


class Neftune:
    """Adds uniform noise of ± alpha / sqrt(length · width) to a model's input embeddings in training mode.

    A context: until it is left, the noise is on. It comes from torch's global generator, so that a resumed
    training draws what an uninterrupted one would. The length is that of the sample and not of the packed
    row, by the positions that the model is called with: packing does not weaken the noise.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self._alpha = alpha
        self._lengths: Tensor | None = None
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._hooks = (
            [
                whole.base_model.register_forward_pre_hook(self._see_positions, with_kwargs=True),
                whole.get_input_embeddings().register_forward_hook(self._noise),
            ]
            if alpha > 0
            else []
        )

    def remove(self) -> None:
        """Leaves the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _see_positions(self, _module: nn.Module, _args: Any, given: dict[str, Any]) -> None:
        positions = given.get("position_ids")
        self._lengths = None if positions is None else _sample_lengths(positions)

    def _noise(self, module: nn.Module, _args: Any, embedded: Tensor) -> Tensor | None:
        if not module.training:
            return None
        lengths = embedded.shape[-2] if self._lengths is None else self._lengths.unsqueeze(-1)
        bound = self._alpha / (lengths * embedded.shape[-1]) ** 0.5
        noise = torch.empty_like(embedded).uniform_(-1, 1) * bound
        return embedded + noise.to(embedded.dtype)


def _sample_lengths(positions: Tensor) -> Tensor:
    """For each place of rows, how long the sample there is; positions begin at 0 in each."""
    sample = (positions == 0).cumsum(1)
    counts = torch.zeros_like(sample).scatter_add_(1, sample - 1, torch.ones_like(sample))
    return counts.gather(1, sample - 1)
