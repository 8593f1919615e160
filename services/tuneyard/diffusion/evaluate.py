"""Evaluates a finished text-to-image LoRA on held-out images: from its job's artifacts to a report.

Interrupted, it begins anew: nothing is saved before everything is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from tuneyard.datasets.words import counted
from tuneyard.diffusion.base_source import find_base
from tuneyard.diffusion.buckets import bucket_of, make_buckets
from tuneyard.diffusion.clip_score import Clip
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.drawing import Artist, Wish
from tuneyard.diffusion.evaluate_report import Measured, MeasuredImage, save_report
from tuneyard.diffusion.evaluate_samples import MeasuredSamples, measured_samples
from tuneyard.diffusion.evaluation import TIMES, Evaluation, Evaluator
from tuneyard.diffusion.finished import FinishedPipeline, StoredLora, load_finished, require_same
from tuneyard.diffusion.latents import LatentSource, keep_latents
from tuneyard.diffusion.pipeline import Pipeline, open_pipeline
from tuneyard.diffusion.pixels import Framing, file_sha256
from tuneyard.diffusion.sampling import STEPS_ON_ACCELERATOR, STEPS_ON_CPU, prompt_seed
from tuneyard.diffusion.training_data import OneByOne, Picture
from tuneyard.trainer.errors import Stop, Stopped, base_gone
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.run import Result, Run

_PICTURES = 4


def evaluate(config: EvaluateConfig, source: TextToImageConfig, run: Run) -> Result:
    """Measures the tuned model, and its base where that is wanted. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    torch.set_num_threads(run.cpu_threads)
    stored = StoredLora.read(run.source_artifacts())
    with run.stage("find_base", source.base_model):
        if source.base_model.startswith("models/") and run.model_files() is None:
            raise base_gone(source.base_model)
        base = find_base(source, run)
        require_same(stored, base)
    with run.stage("prepare_data"):
        chosen = measured_samples(config, source, manifest=stored.manifest, run=run)
        pictures = pictures_of(chosen, source)
        # Before the model is loaded: beside it, the VAE would need more memory than the training did.
        latents = encoded(pictures, open_pipeline(base.folder), device=device, run=run)
    for code, message in chosen.warnings.items():
        run.warn(code, message)
    run.log(f"Measuring on {counted(len(pictures), 'image')}: {chosen.origin}.")

    with run.stage("load_model"):
        model = load_finished(stored, source, base.folder, device=device)
    compares = config.compare_with_base
    measuring = Measuring(run, source, model, pictures, latents, device=device, models=2 if compares else 1)
    with run.stage("evaluate", counted(len(pictures), "image")):
        tuned = measuring.losses(1.0)
        of_base = measuring.losses(0.0) if compares else None
    prompts = [str(prompt) for prompt in stored.manifest.get("prompts") or ()][:_PICTURES]
    with run.stage("draw", counted(len(prompts), "prompt")):
        drawn = draw(model, prompts, source, run, device=device, compares=compares)
        scores = clip_scores(drawn, prompts, run, device=device) if drawn else {}

    run.finalizing()
    measured = Measured(
        config=config,
        base_model=source.base_model,
        kind=model.pipeline.kind,
        precision=model.precision,
        origin=chosen.origin,
        warning=chosen.warning,
        tuned=_mean(tuned),
        base=_mean(of_base) if of_base else None,
        no_base="" if compares else "A comparison with the base model was not asked for.",
        images=[
            MeasuredImage(
                picture.sample.name,
                picture.sample.caption,
                tuned[at],
                of_base[at] if of_base else None,
            )
            for at, picture in enumerate(pictures)
        ],
        prompts=prompts if drawn else (),
        pictures=drawn.save(run.work_dir / "compared.png") if drawn else None,
        tuned_score=scores.get(1.0),
        base_score=scores.get(0.0),
    )
    run.metrics(step=measuring.done, epoch=1, values=measured.metrics)
    save_report(run, measured)
    return Result(metrics=measured.metrics, step=measuring.done, summary=measured.summary)


def pictures_of(chosen: MeasuredSamples, source: TextToImageConfig) -> list[Picture]:
    """The images with what their latents are known by, in the buckets of the training."""
    buckets = make_buckets(source.resolution)
    return [
        Picture(sample, file_sha256(sample.path), bucket_of(sample.size, buckets))
        for sample in chosen.samples
    ]


def encoded(
    pictures: Sequence[Picture], pipeline: Pipeline, *, device: torch.device, run: Run
) -> LatentSource:
    """The images' latents, from the trainer's cache where a training left them there."""
    framings = [Framing(picture.bucket) for picture in pictures]
    keys = {
        picture.key(framing): picture.reader(framing)
        for picture, framing in zip(pictures, framings, strict=True)
    }
    return keep_latents(keys, pipeline, device=device, run=run)


class Measuring:
    """Passes over the images with the tuned model and its base, and how far they are: in images."""

    def __init__(
        self,
        run: Run,
        source: TextToImageConfig,
        model: FinishedPipeline,
        pictures: Sequence[Picture],
        latents: LatentSource,
        *,
        device: torch.device,
        models: int,
    ) -> None:
        self._run = run
        self._model = model
        self._pictures = pictures
        self._total = models * len(pictures)
        self._latents = latents
        self._batch_size = source.batch_size
        self._device = device
        self.done = 0
        """Images that were measured so far, over all models."""

    def losses(self, lora_scale: float) -> list[float]:
        """Each image's loss, as the training's evaluations measure it. Raises Stopped."""
        found = []
        with self._model.scaled(lora_scale):
            for picture in self._pictures:
                evaluator = Evaluator(
                    [picture],
                    self._latents,
                    OneByOne(self._model.text),
                    batch_size=min(self._batch_size, TIMES),
                    precision=self._model.precision,
                    device=self._device,
                )
                measured = evaluator.evaluate(self._model.denoiser, should_stop=self._should_stop)
                if measured is None:
                    raise Stopped(self._run.stop_requested() or Stop.CANCEL, self.done)
                found.append(measured.loss)
                self._advance()
        return found

    def _should_stop(self) -> bool:
        self._run.fault(f"step={self.done + 1}")
        return self._run.stop_requested() is not None

    def _advance(self) -> None:
        self.done += 1
        self._run.progress(
            step=self.done,
            total_steps=self._total,
            epoch=self.done / self._total,
            total_epochs=1,
            unit="images",
            count=1,
        )


@dataclass(frozen=True)
class Drawn:
    """Pictures of prompts."""

    by_scale: Mapping[float, Sequence[Image.Image]]
    """One for each prompt, by the weight that the adapter had: 0 is the base's."""

    def save(self, path: Path) -> Path:
        """Writes all of them as one picture: a row for each prompt, the base's first."""
        columns = [self.by_scale[scale] for scale in sorted(self.by_scale)]
        width, height = columns[0][0].size
        grid = Image.new("RGB", (width * len(columns), height * len(columns[0])), "white")
        for column, pictures in enumerate(columns):
            for row, picture in enumerate(pictures):
                grid.paste(picture, (column * width, row * height))
        grid.save(path)
        return path


def draw(
    model: FinishedPipeline,
    prompts: Sequence[str],
    source: TextToImageConfig,
    run: Run,
    *,
    device: torch.device,
    compares: bool,
) -> Drawn | None:
    """The prompts, each drawn by the base and by the tuned model from one seed.

    None where there are no prompts, or memory does not suffice.
    """
    if not prompts:
        return None
    steps = STEPS_ON_CPU if device.type == "cpu" else STEPS_ON_ACCELERATOR
    side = max(64, source.resolution // 64 * 64)
    scales = (0.0, 1.0) if compares else (1.0,)
    pictures: dict[float, list[Image.Image]] = {scale: [] for scale in scales}
    try:
        artist = Artist(model, device=device)
        for row, prompt in enumerate(prompts):
            for scale in scales:
                wish = Wish(prompt=prompt, steps=steps, width=side, height=side, lora_scale=scale)
                seed = prompt_seed(source.seed, row)
                pictures[scale].append(artist.draw(wish, seed=seed, check=run.check_stop))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        run.warn("no_room_to_sample", "No pictures are drawn: memory does not suffice.")
        return None
    return Drawn(pictures)


def clip_scores(
    drawn: Drawn, prompts: Sequence[str], run: Run, *, device: torch.device
) -> dict[float, float]:
    """CLIP's score of the pictures by the adapter's weight; none without a CLIP model, or without room."""
    folder = run.clip_model_files()
    if folder is None:
        return {}
    clip = Clip(folder, device=device)
    try:
        return {scale: clip.score(pictures, prompts) for scale, pictures in drawn.by_scale.items()}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        run.warn("no_room_to_score", "The pictures get no CLIP score: memory does not suffice.")
        return {}


def _mean(losses: Sequence[float]) -> Evaluation:
    return Evaluation(sum(losses) / len(losses), len(losses))
