"""Attention of UNets that train on the processor, where torch's fused kernel is slow for few keys.

Its backward pass takes two to three times as long as products of plain matrices for the 77 keys of a text and
for the up to 256 of an image's small layers: 6 to 9 % of a step of Stable Diffusion 1.5's shape at half width
(AMD EPYC, avx512_bf16). With more it is faster, and keeps no scores. Without gradients both take as long, and
pictures are drawn as diffusers draws them.
"""

from typing import Any, cast

from diffusers.models import attention_processor as untyped_attention_processor
from torch import Tensor, is_grad_enabled, nn

_diffusers: Any = untyped_attention_processor

MOST_KEYS = 256
"""With which plain products are faster."""


def hasten_few_keys(network: nn.Module) -> None:
    """Lets a UNet choose by the number of keys; other networks stay as they are."""
    unet = cast(Any, network)
    kinds = {type(each) for each in getattr(unet, "attn_processors", {}).values()}
    if kinds == {_diffusers.AttnProcessor2_0}:
        unet.set_attn_processor(_ByKeys())


class _ByKeys:
    """diffusers' plain processor where gradients are wanted of few keys, and its fused one else."""

    def __init__(self) -> None:
        self._plain = _diffusers.AttnProcessor()
        self._fused = _diffusers.AttnProcessor2_0()

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        keys = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        count = keys.shape[1] if keys.ndim == 3 else keys.shape[2] * keys.shape[3]
        chosen = self._plain if is_grad_enabled() and count <= MOST_KEYS else self._fused
        found: Tensor = chosen(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return found
