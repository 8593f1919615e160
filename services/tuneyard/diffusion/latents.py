"""Images as the VAE encodes them, and captions as the text encoders read them: computed once and kept, or
anew each time, with the same numbers.

Kept are the mean and deviation of an image's latents, not one draw of them: each step draws anew, as it does
without the cache.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from tuneyard.diffusion.denoiser import EncodedText, TextEncoders, device_of
from tuneyard.diffusion.models import load_text
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.safe_pipeline import TOKENIZERS
from tuneyard.diffusion.tensor_cache import TensorStore, keep_tensors
from tuneyard.trainer.oom import free_memory
from tuneyard.trainer.run import Run

LATENTS, TEXTS = "latents", "text-embeddings"
"""The kinds of the trainer's cache."""
_VERSION = 1
"""To be raised when the same image or caption would be encoded to other numbers."""

ReadPixels = Callable[[], Tensor]
"""Reads and frames an image: (3, height, width), from -1 to 1."""


class Moments(NamedTuple):
    """What the VAE knows of an image's latents, scaled as the network wants them: fp32, on the CPU."""

    mean: Tensor
    """(channels, height, width)"""
    deviation: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """Latents, as likely as the VAE thinks them."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return self.mean + self.deviation * noise


class LatentSource(Protocol):
    """Where a step's latents come from."""

    def moments(self, key: str, read: ReadPixels) -> Moments:
        """Of the image that `key` names and `read` reads."""
        ...


class TextSource(Protocol):
    """Where a step's encoded captions come from."""

    def encoded(self, captions: Sequence[str]) -> EncodedText:
        """Of the captions, in their order."""
        ...


class FreshLatents:
    """Encodes an image each time it is asked for."""

    def __init__(self, vae: nn.Module) -> None:
        config: Any = cast(Any, vae).config
        self._vae: Any = vae
        self._scale = float(config.scaling_factor)
        self._shift = float(getattr(config, "shift_factor", None) or 0.0)

    def moments(self, key: str, read: ReadPixels) -> Moments:
        """One image at a time, so that the numbers do not depend on its neighbours."""
        return self.encode(read())

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Moments:
        """Of (3, height, width), from -1 to 1."""
        found = self._vae.encode(pixels.unsqueeze(0).to(device_of(self._vae))).latent_dist
        mean = (found.mean[0].float() - self._shift) * self._scale
        return Moments(mean.cpu(), (found.std[0].float() * self._scale).cpu())


class KeptLatents:
    """Reads what was encoded before."""

    def __init__(self, store: TensorStore) -> None:
        self._store = store

    def moments(self, key: str, read: ReadPixels) -> Moments:
        """Raises KeyError for an image that was not among those to keep."""
        mean, deviation = self._store.get(key, "mean"), self._store.get(key, "deviation")
        if mean is None or deviation is None:
            raise KeyError(key)
        return Moments(mean, deviation)


class FreshTexts:
    """Encodes captions each time they are asked for: with a past, where the encoders are trained."""

    def __init__(self, encoders: TextEncoders) -> None:
        self._encoders = encoders

    def encoded(self, captions: Sequence[str]) -> EncodedText:
        """All at once."""
        return self._encoders.encode(captions)


class KeptTexts:
    """Reads what was encoded before."""

    def __init__(self, store: TensorStore, device: torch.device) -> None:
        self._store = store
        self._device = device

    def encoded(self, captions: Sequence[str]) -> EncodedText:
        """Raises KeyError for a caption that was not among those to keep."""
        return EncodedText.cat([self._one(caption) for caption in captions]).to(self._device)

    def _one(self, caption: str) -> EncodedText:
        hidden = self._store.get(caption, "hidden")
        if hidden is None:
            raise KeyError(caption)
        return EncodedText(hidden, self._store.get(caption, "pooled"))


def keep_latents(
    images: Mapping[str, ReadPixels], pipeline: Pipeline, *, device: torch.device, run: Run
) -> KeptLatents:
    """The latents of all the images, by keys that must name their bytes and their framing. The VAE is loaded
    only if an image is new, and gone when this returns. Raises as `keep_tensors` and `Pipeline.load_vae`.
    """
    loaded: list[FreshLatents] = []

    def compute(key: str) -> Mapping[str, Tensor]:
        if not loaded:
            loaded.append(FreshLatents(pipeline.load_vae(device=device)))
        return loaded[0].moments(key, images[key])._asdict()

    model = f"{_VERSION}:{pipeline.sha256('vae')}"
    try:
        return KeptLatents(keep_tensors(LATENTS, images, compute, model=model, run=run))
    finally:
        loaded.clear()
        free_memory()


def keep_texts(
    captions: Sequence[str], pipeline: Pipeline, *, dtype: torch.dtype, device: torch.device, run: Run
) -> KeptTexts:
    """All the captions as frozen text encoders in that number format read them; the encoders are loaded only
    if a caption is new, and gone when this returns. Raises as `keep_tensors` and `models.load_text`.
    """
    loaded: list[TextEncoders] = []

    @torch.no_grad()
    def compute(key: str) -> Mapping[str, Tensor]:
        if not loaded:
            loaded.append(load_text(pipeline, dtype=dtype, device=device))
        text = loaded[0].encode([key])
        return {"hidden": text.hidden} | ({} if text.pooled is None else {"pooled": text.pooled})

    parts = (*pipeline.index.text_encoders, *(name for name in TOKENIZERS if name in pipeline.index.parts))
    settings = sorted(pipeline.index.settings.items())
    model = f"{_VERSION}:{pipeline.kind}:{pipeline.sha256(*parts)}:{dtype}:{settings}"
    try:
        store = keep_tensors(TEXTS, dict.fromkeys(captions), compute, model=model, run=run)
        return KeptTexts(store, device)
    finally:
        loaded.clear()
        free_memory()
