"""Stable Diffusion 3: two CLIPs and maybe a T5, and a transformer that is trained by flow matching."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.diffusion.denoiser import (
    EncodedText,
    Frame,
    clip_states,
    count_tokens,
    device_of,
    dtype_of,
    token_ids,
)
from tuneyard.diffusion.noise import NoiseProcess

T5_TOKENS = 256
"""What the pipeline itself takes where its caller names no other number."""


class Sd3Text:
    """The text encoders; an empty caption is a text like any other."""

    def __init__(
        self, modules: Mapping[str, nn.Module], tokenizers: Mapping[str, Any], *, joint_width: int
    ) -> None:
        """`joint_width` is the transformer's `joint_attention_dim`."""
        self.modules = modules
        self._tokenizers = tokenizers
        self._joint_width = joint_width

    def encode(self, captions: Sequence[str]) -> EncodedText:
        """The CLIPs' last but one layers beside each other, filled up with zeros, then T5's states, or zeros
        in their place; pooled are both CLIPs' projections.
        """
        first = clip_states(self.modules["text_encoder"], self._tokenizers["tokenizer"], captions)
        second = clip_states(self.modules["text_encoder_2"], self._tokenizers["tokenizer_2"], captions)
        clips = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        clips = functional.pad(clips, (0, self._joint_width - clips.shape[-1]))
        hidden = torch.cat([clips, self._t5(captions, clips).to(clips.dtype)], dim=1)
        return EncodedText(hidden, torch.cat([first.text_embeds, second.text_embeds], dim=-1))

    def _t5(self, captions: Sequence[str], like: Tensor) -> Tensor:
        if "text_encoder_3" not in self.modules:
            return like.new_zeros(len(captions), T5_TOKENS, self._joint_width)
        encoder = self.modules["text_encoder_3"]
        ids = token_ids(self._tokenizers["tokenizer_3"], captions, length=T5_TOKENS)
        found: Tensor = encoder(ids.to(device_of(encoder)))[0]
        return found

    def count_tokens(self, caption: str) -> int:
        """Of CLIP: with the marks of beginning and end, before anything is cut."""
        return count_tokens(self._tokenizers["tokenizer"], caption)

    @property
    def max_tokens(self) -> int:
        """77 of CLIP; T5 reads more."""
        return int(self._tokenizers["tokenizer"].model_max_length)


class Sd3Denoiser:
    """The transformer."""

    part = "transformer"

    def __init__(self, network: nn.Module, process: NoiseProcess) -> None:
        self.network = network
        self.process = process

    def predict(self, noisy: Tensor, times: Tensor, text: EncodedText, frames: Sequence[Frame]) -> Tensor:
        """Frames are not told."""
        dtype = dtype_of(self.network)
        if text.pooled is None:
            raise ValueError("SD3 needs pooled texts")
        predicted: Tensor = self.network(
            hidden_states=noisy.to(dtype),
            timestep=self.process.told(times),
            encoder_hidden_states=text.hidden.to(dtype),
            pooled_projections=text.pooled.to(dtype),
            return_dict=False,
        )[0]
        return predicted.float()
