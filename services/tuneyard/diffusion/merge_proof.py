"""Proves that a merged pipeline draws what its base draws with the LoRA, and measures the difference.

All are run in fp32 from the files, one after the other: what differs is what merging rounded. Compared are
the network's predictions at fixed times and noise, and pictures of fixed prompts and seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tuneyard.datasets.words import counted
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.denoiser import Frame
from tuneyard.diffusion.drawing import Artist, Wish
from tuneyard.diffusion.finished import FinishedPipeline, StoredLora, load_with
from tuneyard.diffusion.noise import even_times
from tuneyard.diffusion.pixels import to_image
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.oom import free_memory

_TIMES = 4
_PICTURES = 2
_STEPS, _GUIDANCE = 6, 7.5
_LARGEST_SIDE = 256
"""In px: what is proved does not depend on the size, and its time does."""
_SEED = 20
_SHARE_OF_PREDICTION = {"float32": 0.001, "float64": 0.001}
_SHARE_OF_PREDICTION_HALF = 0.05
"""Of the predictions' mean magnitude that the mean difference may have, by the format that was rounded to."""
_SHARE_OF_EFFECT = 0.5
"""Of the LoRA's effect that rounding may take. More, and the merged pipeline is nearer to its base."""
_SMALLEST_EFFECT = 1e-6
"""Below it the LoRA changes nothing, and there is nothing to lose."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two pipelines differ at the same noise, prompts and seeds."""

    max_prediction_difference: float
    mean_prediction_difference: float
    max_latent_difference: float
    """Of denoised pictures, in the latents' own unit: they have a deviation of about 1."""
    max_pixel_difference: float
    """Of decoded pictures, in levels of 0 to 255."""


@dataclass(frozen=True)
class Seen:
    """What one pipeline computes."""

    predictions: Tensor
    latents: Tensor
    pixels: Tensor
    """(pictures, 3, height, width), from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A passed comparison."""

    difference: Difference
    """The merged pipeline against base and LoRA."""
    effect: Difference
    """The base alone against base and LoRA: what the LoRA does."""
    pictures: Image.Image
    """The base's, base and LoRA's, the merged pipeline's, side by side."""
    prompts: Sequence[str]
    side: int

    @property
    def is_mostly_lost(self) -> bool:
        """Whether rounding took more of the LoRA's effect than is good."""
        effect = self.effect.mean_prediction_difference
        lost = self.difference.mean_prediction_difference
        return effect > _SMALLEST_EFFECT and lost > _SHARE_OF_EFFECT * effect

    @property
    def facts(self) -> dict[str, Any]:
        """The values for the manifest."""
        return {
            **asdict(self.difference),
            "lora_effect": asdict(self.effect),
            "prompts": list(self.prompts),
            "side": self.side,
            "steps": _STEPS,
            "times": _TIMES,
            "computed_in": "float32",
        }

    @property
    def summary(self) -> str:
        """One sentence for people."""
        found, effect = self.difference, self.effect
        return (
            f"Its predictions differ from those of base and LoRA by at most"
            f" {found.max_prediction_difference:.1e} (the LoRA moves them by"
            f" {effect.max_prediction_difference:.1e}), and"
            f" {counted(len(self.prompts), 'picture')} of the same seeds by at most"
            f" {found.max_pixel_difference:.0f} of 255 levels."
        )


def prove(
    stored: StoredLora,
    config: TextToImageConfig,
    *,
    base: Path,
    merged: Path,
    dtype: str,
    check: Callable[[], None],
) -> Proof:
    """Compares the folders' pipelines; `dtype` is the merged weights', as torch names it.

    Raises RecipeError RECIPE_FAILED where they differ by more than rounding, and what `check` raises.
    """
    prompts = _prompts(stored.manifest)
    scale = 64
    side = max(scale, min(config.resolution, _LARGEST_SIDE) // scale * scale)
    tuned = load_with(stored.parts, config, base, device=_CPU, precision="fp32")
    expected = _seen(tuned, prompts, side, lora_scale=1.0, check=check)
    alone = _seen(tuned, prompts, side, lora_scale=0.0, check=check)
    del tuned
    free_memory()
    found = _seen(
        load_with({}, config, merged, device=_CPU, precision="fp32"),
        prompts,
        side,
        lora_scale=1.0,
        check=check,
    )
    proof = Proof(
        difference=compare(found, expected),
        effect=compare(alone, expected),
        pictures=_beside([alone.pixels, expected.pixels, found.pixels]),
        prompts=prompts,
        side=side,
    )
    _require_close(proof, found, expected, dtype=dtype)
    return proof


def compare(found: Seen, expected: Seen) -> Difference:
    """How far one pipeline is from another."""
    off = (found.predictions - expected.predictions).abs()
    levels = (found.pixels.clamp(-1, 1) - expected.pixels.clamp(-1, 1)).abs() * 127.5
    return Difference(
        max_prediction_difference=off.max().item(),
        mean_prediction_difference=off.double().mean().item(),
        max_latent_difference=(found.latents - expected.latents).abs().max().item(),
        max_pixel_difference=levels.max().item(),
    )


def _require_close(proof: Proof, found: Seen, expected: Seen, *, dtype: str) -> None:
    if not bool(found.predictions.isfinite().all()):
        raise _failed("its predictions are not finite")
    share = _SHARE_OF_PREDICTION.get(dtype, _SHARE_OF_PREDICTION_HALF)
    limit = share * expected.predictions.abs().double().mean().item()
    if proof.difference.mean_prediction_difference > limit:
        raise _failed(
            f"its predictions differ by {proof.difference.mean_prediction_difference:.1e} on average, and"
            f" rounding explains {limit:.1e}"
        )
    if proof.is_mostly_lost and dtype in _SHARE_OF_PREDICTION:
        raise _failed("it is nearer to the base alone")


def _seen(
    pipeline: FinishedPipeline,
    prompts: Sequence[str],
    side: int,
    *,
    lora_scale: float,
    check: Callable[[], None],
) -> Seen:
    artist = Artist(pipeline, device=_CPU)
    latents, pixels = [], []
    for number, prompt in enumerate(prompts):
        wish = Wish(
            prompt=prompt,
            steps=_STEPS,
            guidance_scale=_GUIDANCE,
            width=side,
            height=side,
            lora_scale=lora_scale,
        )
        latents.append(artist.latents(wish, seed=_SEED + number, check=check))
        pixels.append(artist.pixels(latents[-1]))
        check()
    predictions = _predictions(pipeline, prompts[0], latents[0].shape, lora_scale=lora_scale, check=check)
    return Seen(predictions, torch.cat(latents).float(), torch.stack(pixels))


@torch.no_grad()
def _predictions(
    pipeline: FinishedPipeline,
    prompt: str,
    shape: Sequence[int],
    *,
    lora_scale: float,
    check: Callable[[], None],
) -> Tensor:
    """At evenly spaced times, of the same noise: (times, channels, height, width)."""
    generator = torch.Generator().manual_seed(_SEED)
    found = []
    size = (8 * shape[-2], 8 * shape[-1])
    frames = [Frame(size, (0, 0), size)]
    with ExitStack() as held:
        held.enter_context(pipeline.scaled(lora_scale))
        text = pipeline.text.encode([prompt])
        for time in even_times(pipeline.denoiser.process, _TIMES):
            noisy = torch.randn(tuple(shape), generator=generator)
            found.append(pipeline.denoiser.predict(noisy, torch.tensor([time]), text, frames))
            check()
    return torch.cat(found).float()


def _prompts(manifest: Mapping[str, Any]) -> list[str]:
    """Those that the training showed samples of; there is always one."""
    told = [str(prompt) for prompt in manifest.get("prompts") or ()]
    return (told or ["a photo"])[:_PICTURES]


def _beside(columns: Sequence[Tensor]) -> Image.Image:
    side = columns[0].shape[-1]
    grid = Image.new("RGB", (side * len(columns), side * len(columns[0])), "white")
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            grid.paste(to_image(picture), (column * side, row * side))
    return grid


def _failed(why: str) -> RecipeError:
    return RecipeError(
        f"The merged pipeline is not what base and LoRA are: {why}.",
        reason="RECIPE_FAILED",
        remedies=(
            "Use the LoRA beside its base instead, which loses nothing.",
            "Where the base is stored in bfloat16 or float16, import it in float32 and merge into that.",
        ),
    )
