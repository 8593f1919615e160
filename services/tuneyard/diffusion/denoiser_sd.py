"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a UNet that is told nothing but time and text."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tuneyard.diffusion.denoiser import EncodedText, Frame, clip_states, count_tokens, dtype_of
from tuneyard.diffusion.noise import NoiseProcess


class SdText:
    """The text encoder; an empty caption is a text like any other."""

    def __init__(self, modules: Mapping[str, nn.Module], tokenizers: Mapping[str, Any]) -> None:
        self.modules = modules
        self._tokenizer = tokenizers["tokenizer"]

    def encode(self, captions: Sequence[str]) -> EncodedText:
        """The last layer's states, normalised."""
        return EncodedText(clip_states(self.modules["text_encoder"], self._tokenizer, captions)[0])

    def count_tokens(self, caption: str) -> int:
        """With the marks of beginning and end, before anything is cut."""
        return count_tokens(self._tokenizer, caption)

    @property
    def max_tokens(self) -> int:
        """77"""
        return int(self._tokenizer.model_max_length)


class SdDenoiser:
    """The UNet."""

    part = "unet"

    def __init__(self, network: nn.Module, process: NoiseProcess) -> None:
        self.network = network
        self.process = process

    def predict(self, noisy: Tensor, times: Tensor, text: EncodedText, frames: Sequence[Frame]) -> Tensor:
        """Frames are not told."""
        dtype = dtype_of(self.network)
        predicted: Tensor = self.network(
            noisy.to(dtype),
            self.process.told(times),
            encoder_hidden_states=text.hidden.to(dtype),
            return_dict=False,
        )[0]
        return predicted.float()
