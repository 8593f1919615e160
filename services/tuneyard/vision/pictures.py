"""Pictures for people, as PNG files: batches, predictions, curves and the confusion matrix.

matplotlib, which takes a second to import, is only imported for the two charts at the end.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tuneyard.vision.lettering import font, shown_names

_TILE = 112
_CAPTION = 28
_MAX_LABELLED = 30
_RIGHT, _WRONG, _PLAIN = (20, 120, 50), (190, 30, 30), (40, 40, 40)


def draw_grid(
    path: Path,
    images: Tensor,
    captions: Sequence[str],
    *,
    right: Sequence[bool] | None = None,
    columns: int = 6,
) -> None:
    """Images as tiles with captions below; `images` is (n, 3, side, side), uint8.

    Captions of `right` tiles are green, others red.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    letters = font(10)
    for number, image in enumerate(images.permute(0, 2, 3, 1).contiguous().numpy()):
        left, top = number % columns * _TILE, number // columns * (_TILE + _CAPTION)
        enlarged = image.shape[0] < _TILE
        method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BILINEAR
        tile = Image.fromarray(image).resize((_TILE - 4, _TILE - 4), method)
        sheet.paste(tile, (left + 2, top + 2))
        colour = _PLAIN if right is None else (_RIGHT if right[number] else _WRONG)
        for line, text in enumerate(captions[number].split("\n")[:2]):
            draw.text((left + 3, top + _TILE - 2 + 13 * line), _fitted(text, letters), colour, letters)
    sheet.save(path, "PNG")


def _fitted(text: str, letters: ImageFont.FreeTypeFont) -> str:
    if letters.getlength(text) <= _TILE - 6:
        return text
    while text and letters.getlength(text + "…") > _TILE - 6:
        text = text[:-1]
    return text + "…"


def draw_confusion(path: Path, confusion: Tensor, classes: Sequence[str]) -> None:
    """The confusion matrix, each row as shares of its true class; with counts where there is room."""
    figure, axes = _figure(width=1.5 + 0.32 * min(len(classes), 40), least=5.0)
    counts = confusion.numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, fraction=0.045, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Confusion matrix (validation)")
    if len(classes) <= _MAX_LABELLED:
        names = shown_names(classes)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=6, color=colour)
    figure.savefig(path, dpi=110)


def draw_losses(
    path: Path, losses: Sequence[tuple[int, float]], evaluations: Sequence[tuple[int, dict[str, float]]]
) -> None:
    """Training and validation loss over the steps, and the accuracy on an axis of its own."""
    figure, axes = _figure(width=7.0, least=4.2)
    steps, values = zip(*losses, strict=True) if losses else ((), ())
    axes.plot(steps, values, color="#9bbbd9", linewidth=0.8, label="train/loss")
    if len(values) >= 20:
        width = max(2, len(values) // 40)
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, color="#1f5f99", linewidth=1.5, label="train/loss (smoothed)")
    at = [step for step, _ in evaluations]
    axes.plot(at, [m["eval/loss"] for _, m in evaluations], "o-", color="#c0562a", label="eval/loss", ms=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    top1 = [m["eval/accuracy_top1"] for _, m in evaluations]
    other.plot(at, top1, "s--", color="#3a8a4d", label="eval/accuracy_top1", ms=3)
    other.set_ylim(0, 1.02)
    other.set_ylabel("accuracy")
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="center right", fontsize=8)
    figure.savefig(path, dpi=110)


def _figure(*, width: float, least: float):  # type: ignore[no-untyped-def]
    """A figure that no window system and no global state of matplotlib knows of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, least * 1.15), max(width * 0.62, least)), layout="constrained")
    return figure, figure.add_subplot()
