"""Evaluates a finished classifier on held-out images: from its job's artifacts to a report, top to bottom.

Interrupted, it begins anew: nothing is saved before everything is measured.
"""

import torch
from torch import nn

from tuneyard.datasets.words import counted
from tuneyard.recipes.precision import autocast
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.run import Result, Run
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluate_base import Base, base_or_reason
from tuneyard.vision.evaluate_report import Measured, save_report
from tuneyard.vision.evaluate_samples import measured_samples, warned
from tuneyard.vision.evaluate_scores import Predictions, answers, joined, score
from tuneyard.vision.pixels import Pixels, decode_workers, load_pixels
from tuneyard.vision.stored_classifier import StoredClassifier, load_stored

_BATCH = 64


def evaluate(config: EvaluateConfig, source: ClassifierConfig, run: Run) -> Result:
    """Measures the model, and its base where there is one. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    torch.set_num_threads(run.cpu_threads)
    with run.stage("load_model"):
        stored = load_stored(run.source_artifacts())
    with run.stage("prepare_data"):
        chosen = measured_samples(config, source, classes=stored.classes, manifest=stored.manifest, run=run)
        [pixels] = load_pixels(
            [chosen.samples],
            side=stored.stored_side,
            workers=decode_workers(run.cpu_threads, source.data_loader_workers),
            run=run,
        )
        base = base_or_reason(config, source, classes=stored.classes, run=run)
    warning = warned(config, stored.manifest, run, digest=chosen.samples.digest, divided=chosen.divided)
    run.log(f"Measuring on {counted(len(pixels), 'image')}: {chosen.origin}.")

    subjects = [stored.model, *([base.model] if isinstance(base, Base) else [])]
    passes = Passes(run, stored, pixels, device=device, models=len(subjects))
    with run.stage("evaluate", counted(len(pixels), "image")):
        tuned, *others = [passes.predict(model) for model in subjects]

    run.finalizing()
    measured = Measured(
        config=config,
        stored=stored,
        samples=chosen.samples,
        origin=chosen.origin,
        warning=warning,
        predictions=tuned,
        scores=score(tuned, classes=len(stored.classes)),
        base=score(others[0], classes=len(stored.classes)) if others else None,
        base_name=base.name if isinstance(base, Base) else "",
        no_base="" if isinstance(base, Base) else base,
    )
    run.metrics(step=passes.total, epoch=1, values=measured.metrics)
    save_report(run, measured, pixels)
    return Result(metrics=measured.metrics, step=passes.total, summary=measured.summary)


class Passes:
    """Passes over a split with one model after the other, and how far they are."""

    def __init__(
        self, run: Run, stored: StoredClassifier, pixels: Pixels, *, device: torch.device, models: int
    ) -> None:
        self._run = run
        self._pixels = pixels
        self._device = device
        self._augmenter = stored.augmenter(device)
        # Half precision of the training's device may be slow or absent on this one.
        self._precision = "fp32" if stored.precision == "fp16" and device.type == "cpu" else stored.precision
        self._batch_size = _BATCH
        self._done = 0
        self.total = models * -(-len(pixels) // _BATCH)
        """Batches of all passes, as reported."""

    @torch.inference_mode()
    def predict(self, model: nn.Module) -> Predictions:
        """The model's answers to all of the split; a batch that does not fit into memory is halved."""
        model = model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.eval()
        parts, start, samples = [], 0, len(self._pixels)
        while start < samples:
            self._run.check_stop()
            self._run.fault(f"step={self._step(start) + 1}")
            end = min(start + self._batch_size, samples)
            try:
                parts.append(self._answers(model, start, end))
            except Exception as error:
                if not is_out_of_memory(error) or end - start == 1:
                    raise
                self._batch_size = (end - start) // 2
                free_memory()
                continue
            self._tell(start, end)
            start = end
        self._done += -(-samples // _BATCH)
        return joined(parts)

    def _answers(self, model: nn.Module, start: int, end: int) -> Predictions:
        positions = torch.arange(start, end)
        with autocast(self._precision, self._device):
            logits = model(self._augmenter.plain(self._pixels, positions))
        return answers(logits.float(), self._pixels.labels[positions])

    def _step(self, samples: int) -> int:
        return self._done + samples // _BATCH

    def _tell(self, start: int, end: int) -> None:
        step = self._done + -(-end // _BATCH)
        self._run.progress(
            step=step,
            total_steps=self.total,
            epoch=step / self.total,
            total_epochs=1,
            unit="images",
            count=end - start,
        )
