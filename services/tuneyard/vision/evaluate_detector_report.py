"""What an evaluation of a detector leaves behind: report.json, pictures, report.html, manifest.json."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tuneyard.datasets.words import counted
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.report_html import Facts, Picture, Section, Table, write_page
from tuneyard.trainer.run import ArtifactKind, Run
from tuneyard.vision import detector_pictures, report_pictures
from tuneyard.vision.detector_batches import DetectionSamples, Draw, Sample
from tuneyard.vision.detector_evaluation import DetectionEvaluation, DetectionEvaluator, hits, true_boxes
from tuneyard.vision.detector_model import LoadedDetector
from tuneyard.vision.export_check import spread
from tuneyard.vision.lettering import shown_names

_EXAMINED = 200
"""Images among which those with most mistakes are looked for: each is asked about once more."""
_SHOWN = 8
_SHOWN_BOXES = 50
_SURE = 0.25
_WHOLE_MATRIX = 1000
_FOLDED = 30
_WORDS = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "precision": "Precision",
    "recall": "Recall",
    "loss": "Loss",
    "box_loss": "Loss of the boxes",
    "cls_loss": "Loss of the classes",
    "dfl_loss": "Loss of the edges (DFL)",
}
_PICTURES = {
    "confusion_matrix.png": "Which classes are taken for which, what is missed, what is not there",
    "precision_recall_curve.png": "Precision over recall",
    "f1_curve.png": "F1 over the least score",
    "most_wrong.png": "Images with most mistakes: labelled (left) and found (right)",
}


@dataclass(frozen=True, kw_only=True)
class MeasuredDetector:
    """A finished measurement."""

    config: EvaluateConfig
    stored: LoadedDetector
    precision: str
    origin: str
    warning: str
    samples: DetectionSamples
    evaluation: DetectionEvaluation
    base: DetectionEvaluation | None
    base_name: str
    no_base: str
    """Why there is no comparison; "" where there is one."""

    @property
    def metrics(self) -> dict[str, float]:
        """The main values of the model ("eval/…") and of its base ("base/…")."""
        values = {f"eval/{name}": value for name, value in main_values(self.evaluation).items()}
        if self.base is not None:
            values |= {f"base/{name}": value for name, value in main_values(self.base).items()}
        return values

    @property
    def summary(self) -> str:
        """One sentence that names the split."""
        against = "" if self.base is None else f" (base model: {self.base.map50:.3f})"
        return (
            f"mAP50 {self.evaluation.map50:.3f}{against} and mAP50-95 {self.evaluation.map50_95:.3f} on"
            f" {counted(len(self.samples), 'image')} of the {self.config.split} split of"
            f" {self.config.dataset}."
        )


def main_values(evaluation: DetectionEvaluation) -> dict[str, float]:
    """The values over all classes, without a prefix."""
    return {
        name: evaluation.metrics[f"eval/{name}"] for name in _WORDS if f"eval/{name}" in evaluation.metrics
    }


def save_report(run: Run, measured: MeasuredDetector, evaluator: DetectionEvaluator) -> None:
    """Draws, writes and hands over everything; the manifest last."""
    folder = run.work_dir
    mistakes = most_wrong(measured, evaluator, run)
    save_json(
        run,
        "report.json",
        report(measured),
        kind=ArtifactKind.METRICS,
        description="Every value that was measured",
    )
    _draw(folder, measured, evaluator, mistakes)
    title = "Evaluation of an object detector"
    write_page(folder / "report.html", title=title, sections=_sections(folder, measured))
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
        split={"name": measured.config.split, "origin": measured.origin, "samples": len(measured.samples)},
        precision=measured.precision,
        metrics=measured.metrics,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, data, model, versions and metrics",
    )


def report(measured: MeasuredDetector) -> dict[str, Any]:
    """The content of report.json."""
    evaluation, classes = measured.evaluation, measured.stored.classes
    base: Mapping[str, Any] = {"compared": False, "reason": measured.no_base}
    if measured.base is not None:
        base = {
            "compared": True,
            "name": measured.base_name,
            "metrics": main_values(measured.base),
            "classes": {name: asdict(found) for name, found in measured.base.classes.items()},
        }
    return {
        "format_version": 1,
        "task": "object_detector",
        "source_job": measured.config.source_job,
        "architecture": measured.stored.architecture,
        "dataset": measured.config.dataset,
        "split": {
            "name": measured.config.split,
            "origin": measured.origin,
            "samples": len(measured.samples),
        },
        "warnings": [measured.warning] if measured.warning else [],
        "metrics": main_values(evaluation),
        "base": base,
        "classes": {name: asdict(found) for name, found in evaluation.classes.items()},
        "confusion_matrix": {
            "rows": "predicted, the last: missed",
            "columns": "true, the last: false detections",
            "classes": [*classes, "background"],
            "counts": evaluation.confusion.astype(int).tolist(),
        }
        if len(classes) <= _WHOLE_MATRIX
        else None,
    }


def most_wrong(
    measured: MeasuredDetector, evaluator: DetectionEvaluator, run: Run
) -> list[tuple[int, Tensor]]:
    """Positions of the images with most missed and false boxes, and the boxes (n, 6) found in them."""
    found: list[tuple[int, int, Tensor]] = []
    for position in spread(len(measured.samples), _EXAMINED):
        run.check_stop()
        sample = measured.samples[Draw(0, position, False)]
        (boxes,), _ = evaluator.found(measured.stored.model, [sample], min_score=_SURE)
        boxes = boxes.cpu()
        corners, labels = true_boxes(sample)
        right = int(hits(boxes, corners, labels)[:, 0].sum())
        found.append((len(boxes) - right + len(labels) - right, position, boxes))
    worst = sorted(found, key=lambda each: (-each[0], each[1]))[:_SHOWN]
    return [(position, boxes) for mistakes, position, boxes in worst if mistakes]


def _draw(
    folder: Path,
    measured: MeasuredDetector,
    evaluator: DetectionEvaluator,
    mistakes: list[tuple[int, Tensor]],
) -> None:
    evaluation, split = measured.evaluation, measured.config.split
    # Rows are the true classes in our reports.
    counts = torch.from_numpy(evaluation.confusion.T.astype(int).copy())
    rows = [*evaluator.classes, "background"]
    report_pictures.draw_confusion(folder / "confusion_matrix.png", counts, rows, split=split)
    shown = dict(zip(evaluator.classes, shown_names(evaluator.classes), strict=True))
    if evaluation.classes:
        report_pictures.draw_curves(
            folder / "precision_recall_curve.png",
            np.linspace(0, 1, evaluation.precision_at_recall.shape[1]).tolist(),
            [
                (f"{shown[name]} {score.ap50:.3f}", curve.tolist())
                for (name, score), curve in zip(
                    evaluation.classes.items(), evaluation.precision_at_recall, strict=True
                )
            ],
            title=f"Precision and recall ({split}, IoU 0.5)",
            labels=("recall", "precision"),
        )
        report_pictures.draw_curves(
            folder / "f1_curve.png",
            evaluation.scores.tolist(),
            [
                (shown[name], curve.tolist())
                for name, curve in zip(evaluation.classes, evaluation.f1_curves, strict=True)
            ],
            title=f"F1 ({split}, IoU 0.5)",
            labels=("least score", "F1"),
        )
    if mistakes:
        _draw_mistakes(folder / "most_wrong.png", measured, mistakes)


def _draw_mistakes(path: Path, measured: MeasuredDetector, mistakes: list[tuple[int, Tensor]]) -> None:
    names, tiles = shown_names(measured.stored.classes), []
    for position, boxes in mistakes:
        sample = measured.samples[Draw(0, position, False)]
        corners, labels = true_boxes(sample)
        labelled = [
            detector_pictures.ShownBox((left, top, right, bottom), int(number), names[int(number)])
            for (left, top, right, bottom), number in zip(corners.tolist(), labels.tolist(), strict=True)
        ]
        shown = [
            detector_pictures.ShownBox(
                (left, top, right, bottom), int(number), f"{names[int(number)]}: {score:.0%}"
            )
            for left, top, right, bottom, score, number in boxes.tolist()
        ]
        for wanted in (labelled, shown):
            tiles.append(detector_pictures.draw_boxes(_image(sample), wanted[:_SHOWN_BOXES]))
    detector_pictures.draw_grid(path, tiles)


def _image(sample: Sample) -> Image.Image:
    return Image.fromarray(sample["img"].permute(1, 2, 0).contiguous().numpy())


def _sections(folder: Path, measured: MeasuredDetector) -> Iterable[Section]:
    yield Facts(
        {
            "Model": f"{measured.stored.architecture}, {counted(len(measured.stored.classes), 'class')},"
            f" trained by {measured.config.source_job}",
            "Dataset": measured.config.dataset,
            "Split": f"{measured.config.split}: {measured.origin}",
            "Images": f"{len(measured.samples):,}",
            "Base model": measured.base_name or measured.no_base,
            "Mind": measured.warning,
        }
    )
    values, base = main_values(measured.evaluation), measured.base
    if base is None:
        yield Table("Results", ("metric", "value"), [(_WORDS[name], value) for name, value in values.items()])
    else:
        before = main_values(base)
        yield Table(
            "Results",
            ("metric", "base model", "tuned model", "change"),
            [
                (_WORDS[name], before[name], value, f"{value - before[name]:+.4f}")
                for name, value in values.items()
            ],
        )
    for name, description in _PICTURES.items():
        if (folder / name).exists():
            yield Picture(description, folder / name)
    rows = [
        (name, found.ap50, found.ap50_95, found.precision, found.recall, found.f1, found.boxes, found.images)
        for name, found in measured.evaluation.classes.items()
    ]
    columns = ("class", "AP50", "AP50-95", "precision", "recall", "F1", "boxes", "images")
    yield Table("Classes", columns, rows, folded=len(rows) > _FOLDED)
