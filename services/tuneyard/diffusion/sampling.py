"""Pictures of a few fixed prompts with fixed seeds, base beside tuned: what numbers do not show.

They change nothing in the training: their noise comes from generators of their own, and what they may take is
bounded. Trying a finished model is `inference`'s business.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from tuneyard.diffusion.clip_score import Judge
from tuneyard.diffusion.decoding import decoded
from tuneyard.diffusion.denoiser import EncodedText
from tuneyard.diffusion.loras import without_loras
from tuneyard.diffusion.noise import Prediction
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.pixels import to_image
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.run import Run

STEPS_ON_CPU = 8
STEPS_ON_ACCELERATOR = 20
"""Denoising steps: enough to see a style."""
_SECONDS = 60.0
"""For all pictures of one look together; the first is drawn however long it takes."""
_SEED_STEP = 1000
_HEADER_PX = 20
_GAP_PX = 4
_TITLE_CHARACTERS = 60
_Rows = list[tuple[Image.Image | None, Image.Image | None]]
"""Of each prompt the base's picture and the tuned one's."""


def prompt_seed(seed: int, number: int) -> int:
    """Every prompt, counted from 0, has a seed of its own, in a training and in evaluations of it."""
    return seed * _SEED_STEP + number


@dataclass(frozen=True)
class Prompts:
    """What is drawn, and how."""

    texts: tuple[str, ...]
    side: int
    """Of the square pictures, in px."""
    seed: int
    prediction: Prediction | None = None
    """What the network predicts; None: as its pipeline says."""

    def seed_of(self, number: int) -> int:
        """The seed of a prompt's picture, the same from look to look."""
        return prompt_seed(self.seed, number)


@dataclass(frozen=True)
class Look:
    """What became of drawing the prompts."""

    artifact: str
    """"" where memory did not suffice."""
    score: float | None = None
    """CLIP's, of the pictures by their prompts; None where none is wanted, or memory did not suffice."""


class Sampler:
    """Draws the prompts with a network as it is, and with the base that it was."""

    def __init__(
        self,
        pipeline: Pipeline,
        prompts: Prompts,
        encode: Callable[[Sequence[str]], EncodedText],
        *,
        adapted: nn.ModuleDict,
        device: torch.device,
        identity: str,
        run: Run,
        judge: Judge | None = None,
    ) -> None:
        """`encode` gives the embeddings of captions, "" as what guidance leads away from; `identity` names
        all that the base's pictures depend on but the prompt. A `judge` scores what is drawn.
        """
        self._pipeline = pipeline
        self._prompts = prompts
        self._encode = encode
        self._adapted = adapted
        self._device = device
        self._steps = STEPS_ON_CPU if device.type == "cpu" else STEPS_ON_ACCELERATOR
        self._identity = f"{identity}:{prompts.side}:{self._steps}:{prompts.prediction}"
        self._run = run
        self._judge = judge

    def show(self, *, step: int) -> Look:
        """Draws all prompts and shows them beside the base's as one picture, which the judge scores.

        Raises Stopped where the run is cancelled; a pause waits, since what is drawn is bounded.
        """
        name = f"samples/step-{step:06d}.png"
        rows = self._drawn(step)
        if rows is None:
            return Look("")
        path = self._run.work_dir / f"sample-{step}.png"
        _grid(rows, self._prompts.side, labels=("base", f"step {step}")).save(path)
        told = " | ".join(_shortened(text) for text in self._prompts.texts)
        self._run.sample_image(path, title=f"Base and step {step}: {told}", step=step, name=name)
        return Look(name, self._scored([tuned for _, tuned in rows]))

    @property
    def scores(self) -> bool:
        """Whether there is a judge."""
        return self._judge is not None

    def score_base(self) -> float | None:
        """The judge's score of what the base draws; None without a judge, or where memory did not suffice.

        Raises Stopped as `show`.
        """
        if self._judge is None:
            return None
        rows = self._drawn(0, tuned=False)
        return None if rows is None else self._scored([base for base, _ in rows])

    def _drawn(self, step: int, *, tuned: bool = True) -> _Rows | None:
        """The pictures of all prompts; None where memory did not suffice, which is told."""
        training = [module.training for module in self._adapted.values()]
        self._adapted.eval()
        try:
            return self._rows(step, tuned=tuned)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._run.warn("no_room_to_sample", "No sample images are drawn: memory does not suffice.")
            free_memory()
            return None
        finally:
            for module, was in zip(self._adapted.values(), training, strict=True):
                module.train(was)

    def _scored(self, pictures: Sequence[Image.Image | None]) -> float | None:
        """Without the time limit of looks that are not scored, all are there."""
        drawn = [picture for picture in pictures if picture is not None]
        if self._judge is None or len(drawn) < len(self._prompts.texts):
            return None
        try:
            return self._judge(drawn, self._prompts.texts)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._run.warn("no_room_to_score", "Sample images get no CLIP score: memory does not suffice.")
            free_memory()
            return None

    def _rows(self, step: int, *, tuned: bool) -> _Rows:
        began = time.monotonic()
        artist: list[_Artist] = []

        def draw(number: int) -> Image.Image:
            if not artist:
                artist.append(
                    _Artist(
                        self._pipeline, self._adapted, self._prompts, steps=self._steps, device=self._device
                    )
                )
            text = self._encode([self._prompts.texts[number]])
            return artist[0].draw(
                text,
                self._encode([""]),
                seed=self._prompts.seed_of(number),
                check=lambda: self._check(step),
            )

        rows: _Rows = []
        # Scores are of all prompts: those of some of them could not be compared.
        limit = _SECONDS if self._device.type == "cpu" and self._judge is None else math.inf
        for number in range(len(self._prompts.texts)):
            if number and time.monotonic() - began > limit:
                rows.append((None, None))
                continue
            rows.append((self._base(number, draw), draw(number) if tuned else None))
        return rows

    def _base(self, number: int, draw: Callable[[int], Image.Image]) -> Image.Image:
        """The base's picture of a prompt, which is drawn once for all jobs on this trainer."""

        def build(folder: Path) -> None:
            with without_loras(self._adapted):
                draw(number).save(folder / "base.png")

        text = self._prompts.texts[number]
        key = f"{self._identity}:{self._prompts.seed_of(number)}:{text}"
        folder = self._run.cached("base-samples", hashlib.sha256(key.encode()).hexdigest(), build)
        with Image.open(folder / "base.png") as image:
            return image.convert("RGB")

    def _check(self, step: int) -> None:
        if self._run.stop_requested() is Stop.CANCEL:
            raise Stopped(Stop.CANCEL, step)


class _Artist:
    """The pipeline that draws, for the time of one look: the VAE goes with it."""

    def __init__(
        self,
        pipeline: Pipeline,
        adapted: nn.ModuleDict,
        prompts: Prompts,
        *,
        steps: int,
        device: torch.device,
    ) -> None:
        part = pipeline.index.network
        self._network: Any = adapted[part]
        self._vae: Any = pipeline.load_vae(device=device)
        scheduler = pipeline.load_scheduler()
        if prompts.prediction:
            scheduler.register_to_config(prediction_type=prompts.prediction)
        self._pipeline: Any = pipeline.assemble(
            {part: self._network, "vae": self._vae, "scheduler": scheduler}
        )
        self._side = prompts.side
        self._steps = steps

    @torch.no_grad()
    def draw(
        self, text: EncodedText, nothing: EncodedText, *, seed: int, check: Callable[[], None]
    ) -> Image.Image:
        def stepped(_pipeline: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            check()
            return values

        latents = self._pipeline(
            **self._embeddings(text, nothing),
            height=self._side,
            width=self._side,
            num_inference_steps=self._steps,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            callback_on_step_end=stepped,
        ).images
        return to_image(decoded(self._vae, latents))

    def _embeddings(self, text: EncodedText, nothing: EncodedText) -> dict[str, Tensor]:
        dtype = self._network.dtype
        given = {
            "prompt_embeds": text.hidden.to(dtype),
            "negative_prompt_embeds": nothing.hidden.to(dtype),
        }
        if text.pooled is not None and nothing.pooled is not None:
            given |= {
                "pooled_prompt_embeds": text.pooled.to(dtype),
                "negative_pooled_prompt_embeds": nothing.pooled.to(dtype),
            }
        return given


def _grid(rows: _Rows, side: int, *, labels: tuple[str, str]) -> Image.Image:
    """A row for each prompt under the columns' labels; what there was no time for stays grey."""
    width = 2 * side + _GAP_PX
    grid = Image.new("RGB", (width, _HEADER_PX + len(rows) * (side + _GAP_PX)), "white")
    pen = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=12)
    for column, label in enumerate(labels):
        left = column * (side + _GAP_PX)
        pen.text((left + _GAP_PX, _GAP_PX), label, fill="black", font=font)
        for number, row in enumerate(rows):
            top = _HEADER_PX + number * (side + _GAP_PX)
            picture = row[column] or Image.new("RGB", (side, side), "lightgrey")
            grid.paste(picture, (left, top))
    return grid


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CHARACTERS else f"{line[: _TITLE_CHARACTERS - 1]}…"
