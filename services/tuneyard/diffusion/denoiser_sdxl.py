"""SDXL base: two CLIP text encoders, and a UNet that is told the image's sizes and a pooled text as well."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tuneyard.diffusion.denoiser import EncodedText, Frame, clip_states, count_tokens, dtype_of
from tuneyard.diffusion.noise import NoiseProcess


class SdxlText:
    """Both text encoders."""

    def __init__(
        self, modules: Mapping[str, nn.Module], tokenizers: Mapping[str, Any], *, zeros_for_empty: bool
    ) -> None:
        """`zeros_for_empty` is the pipeline's `force_zeros_for_empty_prompt`: what it is guided away from
        where no negative prompt is given, and so what a dropped caption has to be.
        """
        self.modules = modules
        self._tokenizers = tokenizers
        self._zeros_for_empty = zeros_for_empty

    def encode(self, captions: Sequence[str]) -> EncodedText:
        """The last but one layer's states of both, beside each other; pooled is the second's projection."""
        first = clip_states(self.modules["text_encoder"], self._tokenizers["tokenizer"], captions)
        second = clip_states(self.modules["text_encoder_2"], self._tokenizers["tokenizer_2"], captions)
        hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        pooled = second.text_embeds
        if self._zeros_for_empty and not all(captions):
            there = torch.tensor([bool(caption) for caption in captions], device=hidden.device)
            hidden = hidden * there[:, None, None].to(hidden.dtype)
            pooled = pooled * there[:, None].to(pooled.dtype)
        return EncodedText(hidden, pooled)

    def count_tokens(self, caption: str) -> int:
        """With the marks of beginning and end, before anything is cut."""
        return count_tokens(self._tokenizers["tokenizer"], caption)

    @property
    def max_tokens(self) -> int:
        """77"""
        return int(self._tokenizers["tokenizer"].model_max_length)


class SdxlDenoiser:
    """The UNet."""

    part = "unet"

    def __init__(self, network: nn.Module, process: NoiseProcess) -> None:
        self.network = network
        self.process = process

    def predict(self, noisy: Tensor, times: Tensor, text: EncodedText, frames: Sequence[Frame]) -> Tensor:
        """Sizes are told in fp32: bf16 knows no 1023."""
        dtype = dtype_of(self.network)
        if text.pooled is None:
            raise ValueError("SDXL needs pooled texts")
        sizes = torch.tensor(
            [[*frame.original, *frame.crop, *frame.target] for frame in frames],
            dtype=torch.float32,
            device=noisy.device,
        )
        predicted: Tensor = self.network(
            noisy.to(dtype),
            self.process.told(times),
            encoder_hidden_states=text.hidden.to(dtype),
            added_cond_kwargs={"text_embeds": text.pooled.to(dtype), "time_ids": sizes},
            return_dict=False,
        )[0]
        return predicted.float()
