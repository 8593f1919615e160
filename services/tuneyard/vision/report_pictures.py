"""Charts of evaluations as PNG files: the confusion matrix, reliability, precision against recall."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tuneyard.vision.evaluate_scores import Bin
from tuneyard.vision.lettering import shown_names

_MAX_LABELLED = 30
_DPI = 110
_BLUE, _GREY = "#1f5f99", "#8a8f98"


def draw_confusion(path: Path, confusion: Tensor, classes: Sequence[str], *, split: str) -> None:
    """Each row as shares of its true class; with counts where there is room."""
    figure, axes = _figure(width=2.0 + 0.34 * min(len(classes), 40))
    counts = confusion.numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, fraction=0.045, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix ({split})")
    if len(classes) <= _MAX_LABELLED:
        names = shown_names(classes)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=6, color=colour)
    figure.savefig(path, dpi=_DPI)


def draw_reliability(path: Path, bins: Sequence[Bin], *, error: float) -> None:
    """Accuracy against confidence, and how many samples have which confidence."""
    figure, axes = _figure(width=6.0)
    filled = [found for found in bins if found.samples]
    axes.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1, label="as sure as right")
    axes.plot(
        [found.confidence for found in filled],
        [found.accuracy for found in filled],
        "o-",
        color=_BLUE,
        label=f"measured (ECE {error:.3f})",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_title("Reliability")
    counts = axes.twinx()
    counts.bar(
        [found.low for found in bins],
        [found.samples for found in bins],
        width=1 / max(1, len(bins)),
        align="edge",
        color=_BLUE,
        alpha=0.15,
    )
    counts.set_ylabel("images")
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=_DPI)


def draw_curves(
    path: Path,
    x: Sequence[float],
    curves: Sequence[tuple[str, Sequence[float]]],
    *,
    title: str,
    labels: tuple[str, str],
) -> None:
    """Named curves between 0 and 1 over common x values, such as precision over recall."""
    figure, axes = _figure(width=6.0)
    for name, values in curves[:_MAX_LABELLED]:
        axes.plot(x, values, linewidth=1.2, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=_DPI)


def _figure(*, width: float) -> tuple[Any, Any]:
    """A figure that no window system and no global state of matplotlib knows of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 5.5), max(width * 0.8, 4.6)), layout="constrained")
    return figure, figure.add_subplot()
