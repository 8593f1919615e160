"""Pictures of detections for people, as PNG files: images with boxes, curves, labels, the confusion matrix.

matplotlib, which takes a second to import, is only imported for the charts at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tuneyard.datasets.yolo import YoloSample
from tuneyard.vision.detector_evaluation import DetectionEvaluation
from tuneyard.vision.lettering import font, shown_names

_TILE = 240
_GAP = 4
_MAX_LABELLED = 30
_MAX_CURVES = 20
_COLOURS = (
    (230, 60, 60),
    (40, 130, 220),
    (30, 160, 80),
    (240, 150, 20),
    (150, 80, 200),
    (20, 170, 180),
    (220, 80, 160),
    (130, 110, 40),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ShownBox:
    """A box to draw: corners in px of its image, the number of its class, and what to write beside it."""

    corners: tuple[float, float, float, float]
    number: int
    caption: str


def draw_boxes(image: Image.Image, boxes: Sequence[ShownBox], *, width: int = 2) -> Image.Image:
    """A copy of the image with boxes in the colours of their classes, captions above."""
    drawn = image.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    height = max(10, min(drawn.size) // 24)
    letters = font(height)
    for box in boxes:
        colour = _COLOURS[box.number % len(_COLOURS)]
        left, top, right, bottom = box.corners
        corners = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        pen.rectangle(corners, outline=colour, width=width)
        if box.caption:
            room = drawn.width - letters.getlength(box.caption) - 1
            place = (max(0.0, min(corners[0] + 1, room)), max(0.0, corners[1] - height - 2))
            pen.rectangle(pen.textbbox(place, box.caption, font=letters), fill=colour)
            pen.text(place, box.caption, "white", letters)
    return drawn


def draw_grid(path: Path, images: Sequence[Image.Image], *, columns: int = 4) -> None:
    """Images of any shape side by side, each fitted into a square."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (_TILE + _GAP) + _GAP, rows * (_TILE + _GAP) + _GAP), "white")
    for number, image in enumerate(images):
        scale = _TILE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        left = _GAP + number % columns * (_TILE + _GAP) + (_TILE - size[0]) // 2
        top = _GAP + number // columns * (_TILE + _GAP) + (_TILE - size[1]) // 2
        sheet.paste(image.resize(size, Image.Resampling.BILINEAR), (left, top))
    sheet.save(path, "PNG")


def draw_confusion(path: Path, confusion: Floats, classes: Sequence[str]) -> None:
    """The confusion matrix, each column as shares of its true class; with counts where there is room."""
    names = [*shown_names(classes), "background"]
    figure, axes = _figure(width=1.5 + 0.32 * min(len(names), 40), least=5.0)
    shares = confusion / np.maximum(confusion.sum(axis=0, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, fraction=0.045, label="share of the true class")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.set_title("Confusion matrix (validation)")
    if len(names) <= _MAX_LABELLED:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        for row, column in np.argwhere(confusion > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{confusion[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    figure.savefig(path, dpi=110)


def draw_precision_recall(path: Path, evaluation: DetectionEvaluation, classes: Sequence[str]) -> None:
    """Precision over recall of each class, and their mean."""
    curves = evaluation.precision_at_recall
    recall = np.linspace(0, 1, curves.shape[1] if curves.ndim == 2 else 0)
    shown = dict(zip(classes, shown_names(classes), strict=True))
    labels = [f"{shown[name]} {score.ap50:.3f}" for name, score in evaluation.classes.items()]
    _draw_curves(
        path,
        recall,
        curves,
        labels,
        mean=f"all classes {evaluation.map50:.3f} mAP50",
        axes_labels=("recall", "precision"),
        title="Precision and recall (validation, IoU 0.5)",
    )


def draw_f1(path: Path, evaluation: DetectionEvaluation, classes: Sequence[str]) -> None:
    """F1 of each class over the score from which boxes are counted, and their mean."""
    curves = evaluation.f1_curves
    shown, mean = dict(zip(classes, shown_names(classes), strict=True)), ""
    if curves.ndim == 2 and len(curves):
        best = int(curves.mean(0).argmax())
        mean = f"all classes {curves.mean(0)[best]:.2f} at {evaluation.scores[best]:.2f}"
    _draw_curves(
        path,
        evaluation.scores,
        curves,
        [shown[name] for name in evaluation.classes],
        mean=mean,
        axes_labels=("least score", "F1"),
        title="F1 (validation, IoU 0.5)",
    )


def _draw_curves(
    path: Path,
    x: Floats,
    curves: Floats,
    labels: Sequence[str],
    *,
    mean: str,
    axes_labels: tuple[str, str],
    title: str,
) -> None:
    figure, axes = _figure(width=7.0, least=4.2)
    if curves.ndim == 2 and len(curves):
        few = len(labels) <= _MAX_CURVES
        for curve, label in zip(curves, labels, strict=True):
            axes.plot(x, curve, linewidth=1, label=label if few else None, color=None if few else "#bbbbbb")
        axes.plot(x, curves.mean(0), linewidth=2.5, color="#1f3f99", label=mean)
        axes.legend(fontsize=8, loc="lower left")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(axes_labels[0])
    axes.set_ylabel(axes_labels[1])
    axes.set_title(title)
    figure.savefig(path, dpi=110)


def draw_labels(path: Path, samples: Sequence[YoloSample], classes: Sequence[str]) -> None:
    """What the training labels are like: boxes of each class, where they lie, how large they are."""
    from matplotlib.figure import Figure

    boxes = np.asarray([box for sample in samples for box in sample.boxes], dtype=np.float64).reshape(-1, 5)
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    bars, places, sizes = figure.subplots(1, 3)
    counts = np.bincount(boxes[:, 0].astype(int), minlength=len(classes))
    bars.bar(
        range(len(classes)), counts, color=[tuple(c / 255 for c in _colour(n)) for n in range(len(classes))]
    )
    bars.set_title("boxes of each class")
    if len(classes) <= _MAX_LABELLED:
        bars.set_xticks(range(len(classes)), shown_names(classes), rotation=90, fontsize=7)
    for axes, columns, labels, title in (
        (places, (1, 2), ("x", "y"), "centres of the boxes"),
        (sizes, (3, 4), ("width", "height"), "sizes of the boxes"),
    ):
        axes.hist2d(boxes[:, columns[0]], boxes[:, columns[1]], bins=40, range=((0, 1), (0, 1)), cmap="Blues")
        axes.set_xlabel(f"{labels[0]}, share of the image")
        axes.set_ylabel(f"{labels[1]}, share of the image")
        axes.set_title(title)
    places.invert_yaxis()
    figure.savefig(path, dpi=110)


def draw_losses(
    path: Path, losses: Sequence[tuple[int, float]], evaluations: Sequence[tuple[int, dict[str, float]]]
) -> None:
    """Training and validation loss over the steps, and average precision on an axis of its own."""
    figure, axes = _figure(width=7.0, least=4.2)
    steps, values = zip(*losses, strict=True) if losses else ((), ())
    axes.plot(steps, values, color="#9bbbd9", linewidth=0.8, label="train/loss")
    at = [step for step, _ in evaluations]
    axes.plot(at, [m["eval/loss"] for _, m in evaluations], "o-", color="#c0562a", label="eval/loss", ms=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    for name, colour in (("eval/map50", "#3a8a4d"), ("eval/map50_95", "#7a4d9a")):
        other.plot(at, [m[name] for _, m in evaluations], "s--", color=colour, label=name, ms=3)
    other.set_ylim(0, 1.02)
    other.set_ylabel("mAP")
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="center right", fontsize=8)
    figure.savefig(path, dpi=110)


def _colour(number: int) -> tuple[int, int, int]:
    return _COLOURS[number % len(_COLOURS)]


def _figure(*, width: float, least: float) -> tuple[Any, Any]:
    """A figure that no window system and no global state of matplotlib knows of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, least * 1.15), max(width * 0.62, least)), layout="constrained")
    return figure, figure.add_subplot()
