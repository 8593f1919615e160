"""The image classifier's recipe: from a dataset and settings to a stored model, read from top to bottom."""

from typing import Any

import torch
from torch import nn

from tuneyard.datasets.words import counted
from tuneyard.recipes.allocation import keep_freed_memory
from tuneyard.recipes.checkpoint_state import set_threads
from tuneyard.recipes.course import train_to_end
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.watch import advise_on_speed
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching
from tuneyard.trainer.run import Result, Run
from tuneyard.vision import networks
from tuneyard.vision.advice import advise_on_data
from tuneyard.vision.architectures import architectures
from tuneyard.vision.artifacts import Outcome, save_artifacts
from tuneyard.vision.batches import Augmenter, SampleOrder
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluation import require_measured
from tuneyard.vision.learner import Learner, load_training_state
from tuneyard.vision.optimization import WeightAverage, make_optimizer
from tuneyard.vision.pixels import decode_workers, load_pixels, stored_side
from tuneyard.vision.precision import choose, resumed
from tuneyard.vision.splits import make_splits
from tuneyard.vision.training import Data, Training
from tuneyard.vision.weights import initial_model, rescales


def train(config: ClassifierConfig, run: Run) -> Result:
    """Trains, evaluates and stores a classifier. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    if device.type == "cpu":
        keep_freed_memory()
    last_good = LastGood(run.work_dir / "last-good", begun_at=run.checkpoint())
    set_threads(run, load_training_state(last_good.dir) if last_good.dir else None)

    with run.stage("prepare_data"):
        data = prepare_data(config, run)
        advise_on_data(config, data.splits, data.class_counts, run)
        advise_on_speed(config.precision, run, device)

    batching = MicroBatching(
        run,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
    )

    def begin_at(rate_factor: float | None) -> Training:
        training = begin(
            config, data, last_good, batching=batching, device=device, run=run, rate_factor=rate_factor
        )
        if rate_factor is None:
            describe(config, training.learner, data, device=device, run=run)
        return training

    training = train_to_end(begin_at)
    run.finalizing()
    return finish(config, training, data, run)


def begin(
    config: ClassifierConfig,
    data: Data,
    last_good: LastGood,
    *,
    batching: MicroBatching,
    device: torch.device,
    run: Run,
    rate_factor: float | None,
) -> Training:
    """A training at the last good checkpoint, or at step 0 where there is none: either way to the bit as it
    was there, but for a new `rate_factor`.
    """
    saved = load_training_state(last_good.dir) if last_good.dir else None
    with run.stage("load_model", config.architecture):
        seed_everything(config.seed)
        model, source = first_model(config, len(data.classes), saved=saved, run=run)
        learner = make_learner(config, model, source, data, device=device, saved=saved, run=run)
        if last_good.dir:
            learner.restore(last_good.dir)
            learner.counters.saved_step = learner.counters.step
        if rate_factor is not None:
            learner.counters.rate_factor = rate_factor
    return Training(config, learner, data, batching=batching, last_good=last_good, device=device, run=run)


def prepare_data(config: ClassifierConfig, run: Run) -> Data:
    """The splits' pixels; decoding happens only where the cache does not have them."""
    files = run.dataset()
    splits = make_splits(files, run.validation_dataset(), config)
    require_measured(config.watched_metric, classes=len(splits.classes))
    run.check_stop()
    crops = config.augmentation.crop_min_scale < 1
    train, validation = load_pixels(
        [splits.train, splits.validation],
        side=stored_side(splits.train, image_size=config.image_size, crops=crops),
        workers=decode_workers(run.cpu_threads, config.data_loader_workers),
        run=run,
    )
    return Data(splits, train, validation, files.report)


def first_model(
    config: ClassifierConfig, classes: int, *, saved: dict[str, Any] | None, run: Run
) -> tuple[nn.Module, str]:
    """The network, and where its first weights came from; a checkpoint's weights replace them all."""
    if saved is None:
        return initial_model(config, classes, run=run)
    model = networks.build(
        config.architecture,
        classes=classes,
        image_size=config.image_size,
        dropout=config.dropout,
        rescales=rescales(config),
    )
    return model, saved["source"]


def make_learner(
    config: ClassifierConfig,
    model: nn.Module,
    source: str,
    data: Data,
    *,
    device: torch.device,
    saved: dict[str, Any] | None,
    run: Run,
) -> Learner:
    """The model in training with everything that training changes."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.freeze_backbone:
        networks.freeze_backbone(model)
    networks.set_training(model, frozen_backbone=config.freeze_backbone)
    precision = (
        resumed(saved["precision"], config, model, device=device, run=run)
        if saved
        else choose(config, model, device=device, run=run)
    )
    average = WeightAverage(model, decay=config.ema_decay) if config.ema_decay else None
    if config.gradient_checkpointing:
        networks.checkpoint_gradients(model)
    architecture = architectures()[config.architecture]
    return Learner(
        model=model,
        optimizer=make_optimizer(model, config),
        order=SampleOrder(len(data.train), seed=config.seed),
        augmenter=Augmenter(
            config.augmentation,
            image_size=config.image_size,
            mean=architecture.mean,
            std=architecture.std,
            seed=config.seed + 1,
            device=device,
        ),
        precision=precision,
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        average=average,
        source=source,
    )


def describe(
    config: ClassifierConfig, learner: Learner, data: Data, *, device: torch.device, run: Run
) -> None:
    """Says in the job's log what is trained on what, and what was decided by measurement."""
    run.log(
        f"{config.architecture}, {len(data.train)} training and"
        f" {counted(len(data.validation), 'validation image')} of {counted(len(data.classes), 'class')} at"
        f" {config.image_size} px; weights: {learner.source};"
        f" {learner.precision} on {device} with {counted(torch.get_num_threads(), 'thread')}."
    )


def finish(config: ClassifierConfig, training: Training, data: Data, run: Run) -> Result:
    """Puts the best weights back, judges them, and stores everything."""
    learner, counters = training.learner, training.learner.counters
    model = learner.evaluated_model
    if learner.best_weights is not None:
        model.load_state_dict(learner.best_weights)
    evaluation = training.best_evaluation or training.evaluator.evaluate(
        model, should_stop=lambda: run.stop_requested() is Stop.CANCEL
    )
    if evaluation is None:
        raise Stopped(Stop.CANCEL, counters.step)
    model.eval()
    outcome = Outcome(
        config=config,
        model=model,
        classes=data.classes,
        evaluation=evaluation,
        learner=learner,
        stored_side=data.train.side,
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        held_out=data.splits.validation.digest,
        early_stopped=training.stopped_early,
    )
    save_artifacts(run, outcome, training.evaluator, data.validation)
    last_loss = {"train/loss": counters.losses.points[-1][1]} if counters.losses.points else {}
    return Result(
        metrics=evaluation.metrics | last_loss,
        step=counters.step,
        best_step=counters.best_step,
        early_stopped=training.stopped_early,
        summary=(
            f"{evaluation.accuracy_top1:.1%} of {len(data.validation)} validation images are recognised"
            f" (weights of step {counters.best_step} of {counters.step})."
        ),
    )
