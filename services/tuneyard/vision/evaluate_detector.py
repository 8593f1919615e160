"""Evaluates a finished detector on held-out images: from its job's artifacts to a report, top to bottom.

Interrupted, it begins anew: nothing is saved before everything is measured.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tuneyard.datasets.words import counted
from tuneyard.recipes.precision import Precision
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.held_out import require_unchanged
from tuneyard.trainer.run import Result, Run
from tuneyard.vision.detector_batches import DetectionSamples, engine_settings
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_evaluation import DetectionEvaluation, DetectionEvaluator
from tuneyard.vision.detector_loss import DetectorLoss
from tuneyard.vision.detector_model import LoadedDetector, load_detector
from tuneyard.vision.detector_pixels import scaled_images
from tuneyard.vision.evaluate_detector_inputs import base_or_reason, measured_split
from tuneyard.vision.evaluate_detector_report import MeasuredDetector, save_report
from tuneyard.vision.evaluate_samples import warned
from tuneyard.vision.pixels import decode_workers
from tuneyard.vision.stored_classifier import MANIFEST

_PRECISION: Precision = "fp32"
"""As the training evaluates, whatever it computes in: half precision moves average precisions visibly."""


def evaluate(config: EvaluateConfig, source: DetectorConfig, run: Run) -> Result:
    """Measures the model, and its base where there is one. Raises RecipeError and Stopped."""
    device, batch_size = torch.device(run.device), source.evaluation_batch_size
    torch.set_num_threads(run.cpu_threads)
    with run.stage("load_model"):
        stored, manifest = load_source(run.source_artifacts())
    with run.stage("prepare_data"):
        if config.is_own_dataset:
            require_unchanged(run.dataset(), manifest, name=config.dataset)
        chosen = measured_split(config, source, classes=stored.classes, run=run)
        run.check_stop()
        settings = engine_settings(source, epochs=1)
        samples = DetectionSamples(
            chosen.split.samples,
            scaled_images(
                chosen.split,
                image_size=stored.image_size,
                workers=decode_workers(run.cpu_threads, None),
                run=run,
            ),
            classes=stored.classes,
            settings=settings,
            augment=False,
            rectangular_batch=batch_size,
        )
        base = base_or_reason(config, source, classes=stored.classes, run=run)
    warning = warned(config, manifest, run, digest=chosen.split.digest, divided=chosen.divided)
    run.log(f"Measuring on {counted(len(samples), 'image')}: {chosen.origin}.")

    models = 1 if isinstance(base, str) else 2
    passes = Passes(run, samples, batch_size=batch_size, models=models)

    def measure(model: nn.Module) -> tuple[DetectionEvaluation, DetectionEvaluator]:
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        loss = DetectorLoss(model, settings, weights=None, precision=_PRECISION, device=device)
        evaluator = DetectionEvaluator(samples, loss, classes=stored.classes, batch_size=batch_size)
        evaluation = evaluator.evaluate(model, should_stop=passes.next_batch)
        if evaluation is None:
            raise Stopped(run.stop_requested() or Stop.PAUSE)
        return evaluation, evaluator

    with run.stage("evaluate", counted(len(samples), "image")):
        tuned, evaluator = measure(stored.model)
        before = None if isinstance(base, str) else measure(base[0])[0]
        passes.end()

    run.finalizing()
    measured = MeasuredDetector(
        config=config,
        stored=stored,
        precision=_PRECISION,
        origin=chosen.origin,
        warning=warning,
        samples=samples,
        evaluation=tuned,
        base=before,
        base_name="" if isinstance(base, str) else base[1],
        no_base=base if isinstance(base, str) else "",
    )
    run.metrics(step=passes.total, epoch=1, values=measured.metrics)
    save_report(run, measured, evaluator)
    return Result(metrics=measured.metrics, step=passes.total, summary=measured.summary)


def load_source(folder: Path) -> tuple[LoadedDetector, dict[str, Any]]:
    """A finished job's detector, and its training's manifest. Raises RecipeError MODEL_NOT_FOUND."""
    try:
        stored = load_detector(folder)
    except RecipeError as error:
        raise RecipeError(
            f"The source job left no detector that can be loaded: {error.message}",
            reason="MODEL_NOT_FOUND",
            remedies=("Name a job that trained an object detector and whose artifacts are complete.",),
        ) from error
    manifest = folder / MANIFEST
    return stored, json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}


class Passes:
    """How far the passes over a split are, one for each model."""

    def __init__(self, run: Run, samples: DetectionSamples, *, batch_size: int, models: int) -> None:
        self._run = run
        self._samples = len(samples)
        self._batch_size = batch_size
        self._per_pass = -(-self._samples // batch_size)
        self._begun = 0
        self.total = models * self._per_pass
        """Batches of all passes."""

    def next_batch(self) -> bool:
        """Tells that the batches before this one are done; whether a stop is requested instead."""
        place = self._begun % self._per_pass
        before = min(self._batch_size, self._samples) if place else 0
        self._tell(before)
        self._begun += 1
        self._run.fault(f"step={self._begun}")
        return self._run.stop_requested() is not None

    def end(self) -> None:
        """Tells that the last batch is done too."""
        self._tell(self._samples - (self._per_pass - 1) * self._batch_size)

    def _tell(self, images: int) -> None:
        self._run.progress(
            step=self._begun,
            total_steps=self.total,
            epoch=self._begun / self.total,
            total_epochs=1,
            unit="images",
            count=images,
        )
