"""What training knows of a text-to-image model, whatever its kind: text encoders, and what denoises.

The kinds stand in modules of their own; how noise is put onto latents is `noise`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from tuneyard.diffusion.noise import NoiseProcess


class Frame(NamedTuple):
    """What of an image its latents show, in px; SDXL is told. Each is (height, width) or (top, left)."""

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


@dataclass(frozen=True)
class EncodedText:
    """Captions as the network reads them."""

    hidden: Tensor
    """(captions, tokens, width)"""
    pooled: Tensor | None = None
    """(captions, width) of each caption as a whole, where the kind has it."""

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, chosen: slice) -> "EncodedText":
        return EncodedText(self.hidden[chosen], None if self.pooled is None else self.pooled[chosen])

    def to(self, device: torch.device) -> "EncodedText":
        """The same on another device."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return EncodedText(self.hidden.to(device), pooled)

    def detach(self) -> "EncodedText":
        """The same without a past."""
        return EncodedText(self.hidden.detach(), None if self.pooled is None else self.pooled.detach())

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> "EncodedText":
        """Several as one, in their order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return EncodedText(torch.cat([part.hidden for part in parts]), torch.cat(pooled) if pooled else None)


class TextEncoders(Protocol):
    """The text encoders of a pipeline, with their tokenizers."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """By their names in the pipeline."""
        ...

    def encode(self, captions: Sequence[str]) -> EncodedText:
        """Captions, "" as what the pipeline takes for none; gradients flow where weights are trained."""
        ...

    def count_tokens(self, caption: str) -> int:
        """Of the encoder that reads least, with the marks of beginning and end, before anything is cut."""
        ...

    @property
    def max_tokens(self) -> int:
        """What that encoder reads; the rest of a caption is cut."""
        ...


class Denoiser(Protocol):
    """A network that predicts, from noisy latents, what a noise process wants to know."""

    @property
    def part(self) -> str:
        """The network's name in the pipeline: "unet" or "transformer"."""
        ...

    @property
    def network(self) -> nn.Module: ...

    @property
    def process(self) -> NoiseProcess: ...

    def predict(self, noisy: Tensor, times: Tensor, text: EncodedText, frames: Sequence[Frame]) -> Tensor:
        """The prediction for each sample, in fp32; noisy latents are (samples, channels, height, width)."""
        ...


def sample_losses(
    denoiser: Denoiser,
    latents: Tensor,
    noise: Tensor,
    times: Tensor,
    *,
    text: EncodedText,
    frames: Sequence[Frame],
    weighted: bool = True,
) -> Tensor:
    """Each sample's mean squared error, (samples,) in fp32, times its weight unless that is not wanted.

    Latents and noise are (samples, channels, height, width) in fp32, times (samples,), all on one device.
    """
    process = denoiser.process
    predicted = denoiser.predict(process.noisy(latents, noise, times), times, text, frames)
    errors = (predicted - process.target(latents, noise, times)) ** 2
    losses = errors.flatten(1).mean(dim=1)
    return losses * process.weights(times) if weighted else losses


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number format of a module's frozen weights: adapters are in fp32 whatever that is."""
    return next(
        (weight.dtype for weight in module.parameters() if not weight.requires_grad),
        next(module.parameters()).dtype,
    )


def device_of(module: nn.Module) -> torch.device:
    """Where a module is."""
    return next(module.parameters()).device


def clip_states(module: nn.Module, tokenizer: Any, captions: Sequence[str]) -> Any:
    """What a CLIP text encoder says of captions that are cut or filled to its length, layers and all."""
    ids = token_ids(tokenizer, captions, length=tokenizer.model_max_length)
    return module(ids.to(device_of(module)), output_hidden_states=True)


def token_ids(tokenizer: Any, captions: Sequence[str], *, length: int) -> Tensor:
    """(captions, length)"""
    found: Tensor = tokenizer(
        list(captions), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return found


def count_tokens(tokenizer: Any, caption: str) -> int:
    """With the marks of beginning and end, uncut."""
    return len(tokenizer(caption, truncation=False, verbose=False).input_ids)
