"""The recipe of a text-to-image LoRA: from captioned images to stored adapters, from top to bottom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tuneyard.datasets.words import counted
from tuneyard.diffusion.advice import out_of_memory_remedies, too_large
from tuneyard.diffusion.artifacts import Outcome, save_artifacts
from tuneyard.diffusion.base_source import FoundBase, find_base
from tuneyard.diffusion.clip_score import METRIC as CLIP_SCORE
from tuneyard.diffusion.clip_score import Clip
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.denoiser import EncodedText, TextEncoders
from tuneyard.diffusion.latents import TextSource
from tuneyard.diffusion.learner import Average, Learner, load_state
from tuneyard.diffusion.loras import add_loras, checkpoint_gradients
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.noise import Prediction
from tuneyard.diffusion.pipeline import Pipeline, open_pipeline
from tuneyard.diffusion.sampling import Prompts, Sampler
from tuneyard.diffusion.training import RATE_FACTOR, Model, Training
from tuneyard.diffusion.training_data import OneByOne, TrainingData, prepare_data
from tuneyard.recipes.checkpoint_state import set_threads
from tuneyard.recipes.course import train_to_end
from tuneyard.recipes.optimization import decay_groups
from tuneyard.recipes.optimizers import make_optimizer
from tuneyard.recipes.precision import Precision, choose_precision, dtype_of, precision_of_checkpoint
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.trained_weights import trained_parameters
from tuneyard.recipes.watch import advise_on_speed
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, is_out_of_memory
from tuneyard.trainer.run import Result, Run


@dataclass(frozen=True)
class Base:
    """What a training begins with."""

    found: FoundBase
    pipeline: Pipeline
    data: TrainingData
    precision: Precision


def train(config: TextToImageConfig, run: Run) -> Result:
    """Trains, evaluates and stores a LoRA. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    last_good = LastGood(run.work_dir / "last-good", begun_at=run.checkpoint())
    saved = load_state(last_good.dir) if last_good.dir else None
    set_threads(run, saved)

    with run.stage("find_base", config.base_model):
        found = find_base(config, run)
        pipeline = open_pipeline(found.folder)
    precision = _precision(config, saved, device=device, run=run)
    with run.stage("prepare_data"):
        data = prepare_data(config, run, pipeline, dtype=dtype_of(precision), device=device)
        advise_on_speed(config.precision, run, device)
    base = Base(found, pipeline, data, precision)

    batching = MicroBatching(
        run,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        remedies=out_of_memory_remedies(config),
    )

    def begin(rate_factor: float | None) -> Training:
        try:
            learner, model = make_learner(config, base, last_good.dir, device=device, run=run)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise too_large(config) from error
        if rate_factor is not None:
            learner.counters.rate_factor = rate_factor
        return Training(
            config,
            learner,
            model,
            data,
            make_sampler(config, base, learner, model, device=device, run=run),
            batching=batching,
            last_good=last_good,
            device=device,
            run=run,
        )

    training = train_to_end(begin)
    run.finalizing()
    return finish(config, training, base, run=run)


def _precision(
    config: TextToImageConfig, saved: Mapping[str, Any] | None, *, device: torch.device, run: Run
) -> Precision:
    """The precision of a run that begins, or that goes on from a checkpoint's state; raises RecipeError."""

    def choose() -> Precision:
        return choose_precision(config.precision, device, run)

    if saved is None:
        return choose()
    return precision_of_checkpoint(
        saved["precision"], named=config.precision, device=device, run=run, choose=choose
    )


def make_learner(
    config: TextToImageConfig, base: Base, checkpoint: Path | None, *, device: torch.device, run: Run
) -> tuple[Learner, Model]:
    """The adapters with all that training changes: at a checkpoint, or at step 0 where there is none."""
    with run.stage("load_model", config.base_model):
        seed_everything(config.seed)
        denoiser = load_denoiser(
            base.pipeline,
            dtype=dtype_of(base.precision),
            device=device,
            prediction=prediction_of(config),
            min_snr_gamma=config.min_snr_gamma,
        )
        encoders: Mapping[str, nn.Module] = {}
        texts: TextSource | None = base.data.kept_texts
        if texts is None:
            reading = load_text(base.pipeline, dtype=dtype_of(base.precision), device=device)
            encoders = clips(reading) if config.train_text_encoder else {}
            texts = OneByOne(reading)
        adapted = add_loras(denoiser.part, denoiser.network, encoders, config.lora)
        if config.gradient_checkpointing:
            checkpoint_gradients(adapted)
        learner = Learner(
            model=adapted,
            optimizer=make_optimizer(weight_groups(adapted, config), config, device),
            scaler=torch.amp.GradScaler(device.type, enabled=base.precision == "fp16"),
            precision=base.precision,
            data=base.data.identity,
            folder=run.work_dir / "best",
            average=Average(adapted, decay=config.ema_decay) if config.ema_decay else None,
        )
        if checkpoint:
            learner.restore(checkpoint, load_state(checkpoint))
            learner.counters.saved_step = learner.counters.step
        describe(config, learner, base, device=device, run=run)
    identity = f"{base.found.identity.sha256}:{base.precision}:{device.type}:{config.prediction_type}"
    return learner, Model(denoiser, texts, base_identity=identity)


def clips(encoders: TextEncoders) -> dict[str, nn.Module]:
    """The text encoders that may be adapted. A T5 is as large as the network; no recipe adapts it."""
    return {name: module for name, module in encoders.modules.items() if name != "text_encoder_3"}


def prediction_of(config: TextToImageConfig) -> Prediction | None:
    """What the network predicts; None: as its pipeline says."""
    return None if config.prediction_type == "auto" else config.prediction_type


def weight_groups(adapted: nn.ModuleDict, config: TextToImageConfig) -> list[dict[str, Any]]:
    """The optimizer's groups: text encoders may have a rate of their own."""
    groups: list[dict[str, Any]] = []
    for name, module in adapted.items():
        own = config.text_encoder_learning_rate if name.startswith("text_encoder") else None
        factor = 1.0 if own is None else own / config.learning_rate
        for group in decay_groups(trained_parameters(module), weight_decay=config.weight_decay):
            groups.append({**group, RATE_FACTOR: factor})
    return groups


def make_sampler(
    config: TextToImageConfig,
    base: Base,
    learner: Learner,
    model: Model,
    *,
    device: torch.device,
    run: Run,
) -> Sampler:
    """What draws the prompts, at the resolution that is trained."""

    @torch.no_grad()
    def encode(captions: Sequence[str]) -> EncodedText:
        return model.texts.encoded(captions)

    side = config.resolution // 64 * 64
    clip = run.clip_model_files()
    return Sampler(
        base.pipeline,
        Prompts(base.data.prompts, side=side, seed=config.seed, prediction=prediction_of(config)),
        encode,
        adapted=learner.adapted,
        device=device,
        identity=model.base_identity,
        run=run,
        judge=Clip(clip, device=device).score if clip else None,
    )


def describe(
    config: TextToImageConfig, learner: Learner, base: Base, *, device: torch.device, run: Run
) -> None:
    """Says in the job's log what is trained on what, and what was decided here."""
    sizes = [parameter.numel() for parameter in trained_parameters(learner.model)]
    splits, buckets = base.data.splits, {picture.bucket for picture in base.data.train}
    prior = f" and {counted(len(splits.class_images), 'class image')}" if splits.class_images else ""
    run.log(
        f"LoRA of {config.base_model}: {sum(sizes)} weights of {', '.join(learner.adapted)} are trained,"
        f" on {counted(len(splits.train), 'image')}{prior} in {counted(len(buckets), 'bucket')};"
        f" {len(splits.validation)} held out. {learner.precision} on {device} with"
        f" {counted(torch.get_num_threads(), 'thread')}."
    )


def finish(config: TextToImageConfig, training: Training, base: Base, *, run: Run) -> Result:
    """Puts the best weights back, draws the prompts with them, and stores everything."""
    learner, counters = training.learner, training.counters
    learner.put_best_back()
    metrics = dict(counters.evaluations)[counters.best_step]
    look = training.show_best()
    if look.score is not None:
        metrics = metrics | {CLIP_SCORE: look.score}
    outcome = Outcome(
        config=config,
        learner=learner,
        base=base.found,
        pipeline=base.pipeline,
        data=base.data,
        metrics=metrics,
        samples=look.artifact,
        early_stopped=training.stopped_early,
    )
    save_artifacts(run, outcome)
    last_loss = {"train/loss": counters.losses.points[-1][1]} if counters.losses.points else {}
    before = outcome.base_metrics.get("eval/loss")
    was = f"; the base's was {before:.4g}" if before is not None else ""
    return Result(
        metrics=metrics | last_loss,
        step=counters.step,
        best_step=counters.best_step,
        early_stopped=training.stopped_early,
        summary=(
            f"The loss on {counted(len(base.data.validation), 'held-out image')} is"
            f" {metrics['eval/loss']:.4g}{was} (weights of step {counters.best_step} of {counters.step})."
            + _told_score(outcome)
        ),
    )


def _told_score(outcome: Outcome) -> str:
    if CLIP_SCORE not in outcome.metrics:
        return ""
    before = outcome.base_metrics.get(CLIP_SCORE)
    was = f"; the base's was {before:.4g}" if before is not None else ""
    return f" The CLIP score of the samples is {outcome.metrics[CLIP_SCORE]:.4g}{was}."
