"""Draws pictures with a finished pipeline: one at a time, each from a seed of its own.

The pictures of a training under way are `sampling`'s.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tuneyard.diffusion.decoding import decoded
from tuneyard.diffusion.denoiser import EncodedText, dtype_of
from tuneyard.diffusion.finished import FinishedPipeline
from tuneyard.diffusion.pixels import to_image
from tuneyard.recipes.precision import autocast


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be drawn."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 30
    guidance_scale: float = 7.5
    """1 or less: the prompt alone, without what is to be avoided."""
    width: int
    height: int
    lora_scale: float = 1.0


class Artist:
    """A finished pipeline with its VAE and its scheduler."""

    def __init__(self, finished: FinishedPipeline, *, device: torch.device) -> None:
        self._finished = finished
        self._device = device
        self._vae: Any = finished.pipeline.load_vae(device=device)
        scheduler = finished.pipeline.load_scheduler()
        if finished.prediction:
            scheduler.register_to_config(prediction_type=finished.prediction)
        network = finished.denoiser
        self._dtype = dtype_of(network.network)
        self._pipeline: Any = finished.pipeline.assemble(
            {network.part: network.network, "vae": self._vae, "scheduler": scheduler}
        )

    @property
    def multiple(self) -> int:
        """Of which widths and heights must be."""
        config: Any = self._finished.denoiser.network.config
        scale = int(2 ** (len(self._vae.config.block_out_channels) - 1))
        return scale * int(getattr(config, "patch_size", None) or 1)

    def draw(self, wish: Wish, *, seed: int, check: Callable[[], None]) -> Image.Image:
        """One picture; calls `check` after each step, and raises what it raises."""
        return to_image(self.pixels(self.latents(wish, seed=seed, check=check)))

    @torch.no_grad()
    def latents(self, wish: Wish, *, seed: int, check: Callable[[], None]) -> Tensor:
        """Where denoising ends: (1, channels, height, width)."""

        def stepped(_pipeline: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            check()
            return values

        with ExitStack() as held:
            held.enter_context(self._finished.scaled(wish.lora_scale))
            if self._finished.precision == "fp16":
                held.enter_context(autocast("fp16", self._device))
            text = self._finished.text
            given = self._embeddings(text.encode([wish.prompt]), text.encode([wish.negative_prompt]))
            made = self._pipeline(
                **given,
                height=wish.height,
                width=wish.width,
                num_inference_steps=wish.steps,
                guidance_scale=wish.guidance_scale,
                # On the host: a seed means the same with and without an accelerator.
                generator=torch.Generator().manual_seed(seed),
                output_type="latent",
                callback_on_step_end=stepped,
            )
        found: Tensor = made.images
        return found

    def pixels(self, latents: Tensor) -> Tensor:
        """(3, height, width), from -1 to 1."""
        return decoded(self._vae, latents)

    def _embeddings(self, text: EncodedText, nothing: EncodedText) -> dict[str, Tensor]:
        given = {
            "prompt_embeds": text.hidden.to(self._dtype),
            "negative_prompt_embeds": nothing.hidden.to(self._dtype),
        }
        if text.pooled is not None and nothing.pooled is not None:
            given |= {
                "pooled_prompt_embeds": text.pooled.to(self._dtype),
                "negative_pooled_prompt_embeds": nothing.pooled.to(self._dtype),
            }
        return given
