"""What an evaluation of a classifier leaves behind: report.json, pictures, report.html, manifest.json."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.report_html import Facts, Picture, Section, Table, write_page
from tuneyard.trainer.run import ArtifactKind, Run
from tuneyard.vision import report_pictures
from tuneyard.vision.evaluate_scores import Predictions, Scores, most_confused
from tuneyard.vision.pictures import draw_grid
from tuneyard.vision.pixels import Pixels
from tuneyard.vision.splits import Samples
from tuneyard.vision.stored_classifier import StoredClassifier

_SHOWN_MISTAKES = 24
_LISTED_MISTAKES = 200
_CONFUSED_PAIRS = 20
_WHOLE_MATRIX = 1000
"""Classes up to which the report holds every cell of the confusion matrix."""
_FOLDED = 30
_PICTURES = {
    "confusion_matrix.png": "Which classes are taken for which",
    "reliability.png": "How often the model is right at each confidence",
    "most_wrong.png": "The mistakes of which the model was most sure",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A finished measurement."""

    config: EvaluateConfig
    stored: StoredClassifier
    samples: Samples
    origin: str
    warning: str
    predictions: Predictions
    scores: Scores
    base: Scores | None
    base_name: str
    no_base: str
    """Why there is no comparison; "" where there is one."""

    @property
    def metrics(self) -> dict[str, float]:
        """The main values of the model ("eval/…") and of its base ("base/…")."""
        values = {f"eval/{name}": value for name, value in self.scores.metrics.items()}
        if self.base is not None:
            values |= {f"base/{name}": value for name, value in self.base.metrics.items()}
        return values

    @property
    def summary(self) -> str:
        """One sentence that names the split."""
        against = "" if self.base is None else f" (base model: {self.base.accuracy_top1:.1%})"
        return (
            f"{self.scores.accuracy_top1:.1%} of {self.scores.samples} images of the {self.config.split}"
            f" split of {self.config.dataset} are recognised{against}."
        )


def save_report(run: Run, measured: Measured, pixels: Pixels) -> None:
    """Draws, writes and hands over everything; the manifest last."""
    folder = run.work_dir
    save_json(
        run,
        "report.json",
        report(measured),
        kind=ArtifactKind.METRICS,
        description="Every value that was measured",
    )
    _draw(folder, measured, pixels)
    write_page(
        folder / "report.html",
        title="Evaluation of an image classifier",
        sections=_sections(folder, measured),
    )
    for name, description in _PICTURES.items():
        if (folder / name).exists():
            run.sample_image(folder / name, title=description, step=0, name=name)
    run.save_artifact(
        folder / "report.html",
        name="report.html",
        kind=ArtifactKind.REPORT,
        media_type="text/html",
        description="The report for people, pictures included",
    )
    manifest = run.manifest(
        source_job=measured.config.source_job,
        model={"architecture": measured.stored.architecture, "classes": len(measured.stored.classes)},
        split={"name": measured.config.split, "origin": measured.origin, "samples": measured.scores.samples},
        precision=measured.stored.precision,
        metrics=measured.metrics,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, data, model, versions and metrics",
    )


def report(measured: Measured) -> dict[str, Any]:
    """The content of report.json."""
    classes, scores = measured.stored.classes, measured.scores
    confusion = scores.confusion
    return {
        "format_version": 1,
        "task": "image_classifier",
        "source_job": measured.config.source_job,
        "architecture": measured.stored.architecture,
        "dataset": measured.config.dataset,
        "split": {"name": measured.config.split, "origin": measured.origin, "samples": scores.samples},
        "warnings": [measured.warning] if measured.warning else [],
        "metrics": scores.metrics,
        "macro": asdict(scores.macro),
        "weighted": asdict(scores.weighted),
        "base": _base(measured),
        "classes": {name: asdict(found) for name, found in zip(classes, scores.classes, strict=True)},
        "confusion_matrix": confusion.tolist() if len(classes) <= _WHOLE_MATRIX else None,
        "most_confused": [
            {"class": classes[true], "taken_for": classes[taken], "samples": samples}
            for true, taken, samples in most_confused(confusion, count=_CONFUSED_PAIRS)
        ],
        "calibration": [asdict(bin) for bin in scores.calibration],
        "most_wrong": [_mistake(measured, at) for at in measured.predictions.most_wrong(_LISTED_MISTAKES)],
    }


def _base(measured: Measured) -> dict[str, Any]:
    if measured.base is None:
        return {"compared": False, "reason": measured.no_base}
    return {
        "compared": True,
        "name": measured.base_name,
        "metrics": measured.base.metrics,
        "classes": {
            name: asdict(found)
            for name, found in zip(measured.stored.classes, measured.base.classes, strict=True)
        },
    }


def _mistake(measured: Measured, position: int) -> dict[str, Any]:
    predictions, classes = measured.predictions, measured.stored.classes
    return {
        "path": measured.samples.paths[position],
        "class": classes[int(predictions.truth[position])],
        "predicted": classes[int(predictions.ranking[position, 0])],
        "confidence": float(predictions.confidence[position]),
    }


def _draw(folder: Path, measured: Measured, pixels: Pixels) -> None:
    scores, split = measured.scores, measured.config.split
    report_pictures.draw_confusion(
        folder / "confusion_matrix.png", scores.confusion, measured.stored.classes, split=split
    )
    report_pictures.draw_reliability(
        folder / "reliability.png", scores.calibration, error=scores.calibration_error
    )
    mistakes = measured.predictions.most_wrong(_SHOWN_MISTAKES)
    if mistakes:
        told = [_mistake(measured, position) for position in mistakes]
        captions = [f"{each['predicted']}: {each['confidence']:.0%}\nis {each['class']}" for each in told]
        images = pixels.images(torch.tensor(mistakes))
        draw_grid(folder / "most_wrong.png", images, captions, right=[False] * len(mistakes))


def _sections(folder: Path, measured: Measured) -> Iterable[Section]:
    yield Facts(
        {
            "Model": f"{measured.stored.architecture}, {len(measured.stored.classes)} classes, trained by"
            f" {measured.config.source_job}",
            "Dataset": measured.config.dataset,
            "Split": f"{measured.config.split}: {measured.origin}",
            "Images": f"{measured.scores.samples:,}",
            "Base model": measured.base_name or measured.no_base,
            "Mind": measured.warning,
        }
    )
    yield _overview(measured)
    for name, description in _PICTURES.items():
        if (folder / name).exists():
            yield Picture(description, folder / name)
    yield _per_class(measured)
    classes = measured.stored.classes
    pairs = most_confused(measured.scores.confusion, count=_CONFUSED_PAIRS)
    yield Table(
        "Most frequent confusions",
        ("class", "taken for", "images"),
        [(classes[true], classes[taken], samples) for true, taken, samples in pairs],
    )


def _overview(measured: Measured) -> Table:
    words = {
        "accuracy_top1": "Accuracy (top 1)",
        "accuracy_top5": "Accuracy (top 5)",
        "loss": "Loss (cross-entropy)",
        "macro_f1": "F1, each class counting the same",
        "weighted_f1": "F1, each image counting the same",
        "calibration_error": "Calibration error (ECE)",
    }
    scores, base = measured.scores.metrics, measured.base
    words = {name: text for name, text in words.items() if name in scores}
    if base is None:
        return Table("Results", ("metric", "value"), [(text, scores[name]) for name, text in words.items()])
    return Table(
        "Results",
        ("metric", "base model", "tuned model", "change"),
        [
            (text, base.metrics[name], scores[name], f"{scores[name] - base.metrics[name]:+.4f}")
            for name, text in words.items()
        ],
    )


def _per_class(measured: Measured) -> Table:
    columns = ["class", "precision", "recall", "F1", "images"]
    rows: list[tuple[str | float, ...]] = [
        (name, found.precision, found.recall, found.f1, found.support)
        for name, found in zip(measured.stored.classes, measured.scores.classes, strict=True)
    ]
    if measured.base is not None:
        columns.append("F1 of the base")
        rows = [(*row, found.f1) for row, found in zip(rows, measured.base.classes, strict=True)]
    return Table("Classes", columns, rows, folded=len(rows) > _FOLDED)
