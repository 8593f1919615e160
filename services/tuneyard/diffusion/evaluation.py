"""Measures a text-to-image model on held-out images: its loss at fixed times and with fixed noise, so that
two values differ by the weights alone. Changes nothing in the model; what it draws is `sampling`'s business.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tuneyard.diffusion.buckets import micro_batches
from tuneyard.diffusion.denoiser import Denoiser, sample_losses
from tuneyard.diffusion.draws import Draw, generator
from tuneyard.diffusion.latents import LatentSource, TextSource
from tuneyard.diffusion.noise import draw_noise, even_times
from tuneyard.diffusion.pixels import Framing
from tuneyard.diffusion.training_data import Picture
from tuneyard.recipes.precision import Precision, autocast
from tuneyard.trainer.oom import free_memory, is_out_of_memory

TIMES = 4
"""Evenly spaced over the process: a loss of each image at each of them."""
_VERSION = 1
"""To be raised when the same model and images would give another loss."""
_SEED = 0
"""The noise is the same whatever the job's seed: jobs can be compared."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    loss: float
    """The mean squared error of predictions, unweighted, over images and times."""
    images: int

    @property
    def metrics(self) -> dict[str, float]:
        """The values by their metrics' names."""
        return {"eval/loss": self.loss}


@dataclass(frozen=True)
class _Look:
    """An image at one of the times."""

    picture: Picture
    time: int
    number: int
    """Of the time."""


class Evaluator:
    """Evaluates on one split, in micro-batches that fit the memory."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        latents: LatentSource,
        texts: TextSource,
        *,
        batch_size: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._pictures = pictures
        self._latents = latents
        self._texts = texts
        self._batch_size = batch_size
        self._precision = precision
        self._device = device

    @property
    def identity(self) -> str:
        """Names what is measured: images, captions, times and noise."""
        lines = [f"{each.key(Framing(each.bucket))}:{each.sample.caption}" for each in self._pictures]
        return hashlib.sha256("\0".join((f"{_VERSION}:{TIMES}", *lines)).encode()).hexdigest()

    @torch.no_grad()
    def evaluate(self, denoiser: Denoiser, *, should_stop: Callable[[], bool]) -> Evaluation | None:
        """The measured values, or None if a stop was asked for before the end.

        The model is to be in eval mode.
        """
        looks = [
            _Look(picture, time, number)
            for picture in self._pictures
            for number, time in enumerate(even_times(denoiser.process, TIMES))
        ]
        # In fp64 and on the device: sums of any order round alike, and reading one would wait for it.
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        groups = micro_batches([look.picture.bucket for look in looks], size=len(looks))
        for group in groups:
            waiting = [looks[number] for number in group]
            while waiting:
                if should_stop():
                    return None
                piece = waiting[: self._batch_size]
                found = self._sum_or_halve(denoiser, piece)
                if found is not None:
                    waiting = waiting[len(piece) :]
                    total += found
        return Evaluation(total.item() / max(1, len(looks)), len(self._pictures))

    def _sum_or_halve(self, denoiser: Denoiser, piece: list[_Look]) -> Tensor | None:
        try:
            return self._sum(denoiser, piece)
        except Exception as error:
            if not is_out_of_memory(error) or len(piece) == 1:
                raise
        self._batch_size = len(piece) // 2
        free_memory()
        return None

    def _sum(self, denoiser: Denoiser, piece: list[_Look]) -> Tensor:
        framings = [Framing(look.picture.bucket) for look in piece]
        read = lru_cache(maxsize=1)(self._mean)
        latents = torch.stack([read(look.picture) for look in piece])
        noise = torch.stack([_noise(look, latents.shape[1:]) for look in piece])
        with autocast("fp16" if self._precision == "fp16" else "fp32", self._device):
            losses = sample_losses(
                denoiser,
                latents.to(self._device),
                noise.to(self._device),
                torch.tensor([look.time for look in piece], device=self._device),
                text=self._texts.encoded([look.picture.sample.caption for look in piece]),
                frames=[look.picture.frame(framing) for look, framing in zip(piece, framings, strict=True)],
                weighted=False,
            )
        return losses.double().sum()

    def _mean(self, picture: Picture) -> Tensor:
        """The likeliest latents: without a draw."""
        framing = Framing(picture.bucket)
        return self._latents.moments(picture.key(framing), picture.reader(framing)).mean


def _noise(look: _Look, shape: Sequence[int]) -> Tensor:
    position = int(look.picture.sha256[:15], 16)
    return draw_noise(tuple(shape), generator=generator(_SEED, Draw(0, position, look.number), "noise"))
