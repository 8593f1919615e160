"""The object detector's recipe: from a dataset and settings to a stored model, read from top to bottom."""

import os
from typing import Any

import torch
from torch import nn

from tuneyard.datasets import Report
from tuneyard.datasets.words import counted
from tuneyard.recipes.checkpoint_state import set_threads
from tuneyard.recipes.course import train_to_end
from tuneyard.recipes.precision import Precision
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.watch import advise_on_speed
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching
from tuneyard.trainer.run import Result, Run
from tuneyard.vision import detector_precision
from tuneyard.vision.detector_advice import advise_on_data
from tuneyard.vision.detector_artifacts import DetectorOutcome, save_artifacts
from tuneyard.vision.detector_batches import DetectionSamples, SampleOrder, engine_settings
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_learner import (
    DetectorLearner,
    class_weights,
    freeze,
    load_training_state,
    make_average,
    make_optimizer,
    set_training,
)
from tuneyard.vision.detector_loss import DetectorLoss
from tuneyard.vision.detector_model import build, class_branch
from tuneyard.vision.detector_pixels import scaled_images
from tuneyard.vision.detector_splits import DetectionSplits, make_splits
from tuneyard.vision.detector_training import (
    DetectorData,
    DetectorTraining,
    detector_schedule,
)
from tuneyard.vision.detector_weights import initial_detector
from tuneyard.vision.loader_processes import affordable, failures_told, free_shared_memory_bytes
from tuneyard.vision.pixels import decode_workers

_MAX_WORKERS = 8


def train(config: DetectorConfig, run: Run) -> Result:
    """Trains, evaluates and stores a detector. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    last_good = LastGood(run.work_dir / "last-good", begun_at=run.checkpoint())
    set_threads(run, load_training_state(last_good.dir) if last_good.dir else None)

    with run.stage("prepare_data"):
        files = run.dataset()
        splits = make_splits(files, run.validation_dataset(), config)
        run.check_stop()
        data = prepare_data(config, splits, files.report, run)
        advise_on_data(config, splits, run)
        advise_on_speed(config.precision, run, device)

    batching = MicroBatching(
        run,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
    )

    def begin_at(rate_factor: float | None) -> DetectorTraining:
        training = begin(
            config, data, last_good, batching=batching, device=device, run=run, rate_factor=rate_factor
        )
        if rate_factor is None:
            describe(config, training.learner, data, device=device, run=run)
        return training

    with failures_told():
        training = train_to_end(begin_at)
    run.finalizing()
    return finish(config, training, data, run)


def begin(
    config: DetectorConfig,
    data: DetectorData,
    last_good: LastGood,
    *,
    batching: MicroBatching,
    device: torch.device,
    run: Run,
    rate_factor: float | None,
) -> DetectorTraining:
    """A training at the last good checkpoint, or at step 0 where there is none: either way to the bit as it
    was there, but for a new `rate_factor`.
    """
    saved = load_training_state(last_good.dir) if last_good.dir else None
    with run.stage("load_model", config.architecture):
        seed_everything(config.seed)
        model, source = first_model(config, data.classes, saved=saved, run=run)
        learner = make_learner(config, model, source, data, device=device, saved=saved, run=run)
        if last_good.dir:
            learner.restore(last_good.dir)
            learner.counters.saved_step = learner.counters.step
        if rate_factor is not None:
            learner.counters.rate_factor = rate_factor
    return DetectorTraining(
        config,
        learner,
        data,
        make_loss(config, learner, data, precision=learner.precision, device=device),
        # What is judged is the stored model, which is float32: bf16 changes mAP by about 0.01.
        make_loss(config, learner, data, precision="fp32", device=device),
        batching=batching,
        last_good=last_good,
        device=device,
        run=run,
        workers=loader_workers(config, device, run),
    )


def prepare_data(config: DetectorConfig, splits: DetectionSplits, report: Report, run: Run) -> DetectorData:
    """Both splits' images and boxes; decoding happens only where the cache does not have them."""
    schedule = detector_schedule(config, len(splits.train))
    settings = engine_settings(config, epochs=max(1, round(schedule.total_epochs)))
    workers = decode_workers(run.cpu_threads, config.data_loader_workers)
    step_size, batch = config.effective_batch_size, config.evaluation_batch_size
    train, validation = (
        DetectionSamples(
            split.samples,
            scaled_images(split, image_size=config.image_size, workers=workers, run=run),
            classes=splits.classes,
            settings=settings,
            augment=augment,
            rectangular_batch=rectangular,
            seed=config.seed,
        )
        for split, augment, rectangular in (
            (splits.train, True, step_size if config.rectangular else 0),
            (splits.validation, False, batch),
        )
    )
    order = SampleOrder(len(train), step_size=step_size, seed=config.seed, rectangular=config.rectangular)
    return DetectorData(
        splits.classes, train, validation, settings, order, batch, report, held_out=splits.validation.digest
    )


def first_model(
    config: DetectorConfig, classes: tuple[str, ...], *, saved: dict[str, Any] | None, run: Run
) -> tuple[nn.Module, str]:
    """The network, and where its first weights came from; a checkpoint's weights replace them all."""
    if saved is None:
        return initial_detector(config, classes, run=run)
    return build(config.architecture, classes, class_width=saved["class_width"]), saved["source"]


def make_learner(
    config: DetectorConfig,
    model: nn.Module,
    source: str,
    data: DetectorData,
    *,
    device: torch.device,
    saved: dict[str, Any] | None,
    run: Run,
) -> DetectorLearner:
    """The model in training with everything that training changes."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(model, config.freeze_layers)
    set_training(model, frozen_layers=config.freeze_layers)
    precision = (
        detector_precision.resumed(saved["precision"], config, model, data.settings, device=device, run=run)
        if saved
        else detector_precision.choose(config, model, data.settings, device=device, run=run)
    )
    return DetectorLearner(
        model=model,
        optimizer=make_optimizer(model, config),
        average=make_average(model),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        precision=precision,
        source=source,
        class_width=class_branch(model.state_dict())[1],
    )


def make_loss(
    config: DetectorConfig,
    learner: DetectorLearner,
    data: DetectorData,
    *,
    precision: Precision,
    device: torch.device,
) -> DetectorLoss:
    """The loss, with the classes weighted where that is wanted."""
    boxes = data.train.boxes_of_classes(len(data.classes)).tolist()
    return DetectorLoss(
        learner.model,
        data.settings,
        weights=class_weights(config, data.classes, boxes),
        precision=precision,
        device=device,
    )


def loader_workers(config: DetectorConfig, device: torch.device, run: Run) -> int:
    """Processes that prepare batches: on the processor they would only take cores from the training."""
    wanted = config.data_loader_workers
    if wanted is None:
        wanted = 0 if device.type == "cpu" else min(_MAX_WORKERS, max(1, (os.cpu_count() or 1) - 1))
    batch_bytes = config.effective_batch_size * 3 * config.image_size**2
    return affordable(wanted, batch_bytes=batch_bytes, free_bytes=free_shared_memory_bytes(), run=run)


def describe(
    config: DetectorConfig, learner: DetectorLearner, data: DetectorData, *, device: torch.device, run: Run
) -> None:
    """Says in the job's log what is trained on what, and what was decided by measurement."""
    run.log(
        f"{config.architecture}, {len(data.train)} training and"
        f" {counted(len(data.validation), 'validation image')} of {counted(len(data.classes), 'class')} at"
        f" {config.image_size} px; weights: {learner.source};"
        f" {learner.precision} on {device} with {counted(torch.get_num_threads(), 'thread')}."
    )


def finish(config: DetectorConfig, training: DetectorTraining, data: DetectorData, run: Run) -> Result:
    """Puts the best weights back, judges them where this attempt has not, and stores everything."""
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
    outcome = DetectorOutcome(
        config=config,
        model=model,
        classes=data.classes,
        evaluation=evaluation,
        learner=learner,
        train=data.train,
        validation=data.validation,
        held_out=data.held_out,
        early_stopped=training.stopped_early,
    )
    save_artifacts(run, outcome, training.evaluator)
    last_loss = {"train/loss": counters.losses.points[-1][1]} if counters.losses.points else {}
    return Result(
        metrics=evaluation.metrics | last_loss,
        step=counters.step,
        best_step=counters.best_step,
        early_stopped=training.stopped_early,
        summary=(
            f"mAP50 {evaluation.map50:.3f} and mAP50-95 {evaluation.map50_95:.3f} on {len(data.validation)}"
            f" validation images (weights of step {counters.best_step} of {counters.step})."
        ),
    )
