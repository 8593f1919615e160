"""The YOLO format: images, a label file for each, and a data.yaml; `index` gives a recipe its samples.

What is wrong with a dataset is found by yolo_check.py; a sample here is what training may use.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import content_groups
from tuneyard.datasets.image_head import upright_size
from tuneyard.datasets.report import FindingLog, Report
from tuneyard.datasets.source import FolderSource, Source
from tuneyard.datasets.yolo_labels import MAX_LABEL_BYTES, Box, Label, label_too_large, parse_label
from tuneyard.datasets.yolo_layout import Layout, lay_out
from tuneyard.datasets.yolo_split import stratified_by_presence

__all__ = ["FORMAT", "Box", "YoloIndex", "YoloSample", "index", "likeness", "split"]

FORMAT = "yolo"


@dataclass(frozen=True, slots=True)
class YoloSample:
    """One image and the objects in it."""

    path: str
    """Relative to the index's root, with forward slashes."""
    boxes: tuple[Box, ...]
    """Clipped to the image, without repetitions and boxes of less than a pixel; none in a background."""
    size: tuple[int, int]
    """Width and height in pixels after turning the image upright as its EXIF data says. Boxes are shares of
    this."""


@dataclass(frozen=True)
class YoloIndex:
    """The samples of a dataset by split, and its classes in the order of their numbers."""

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[YoloSample, ...]]
    """"train", and "val" and "test" where the dataset brings them; samples are sorted by path."""


def index(root: Path, report: Report | None = None) -> YoloIndex:
    """Reads the labels and the heads of the images in a prepared folder.

    Left out are the files that the report excludes, with an image also its label and the other way round, and
    images that cannot be identified or whose labels cannot be read. Classes without names are named by their
    numbers. Raises OSError and `ArchiveError` where the folder cannot be read.
    """
    source = FolderSource(root)
    layout = lay_out(source, FindingLog())
    excluded = frozenset(report.excluded) if report is not None else frozenset[str]()
    samples: dict[str, YoloSample] = {}
    for name in layout.images:
        if name not in excluded and layout.labels.get(name) not in excluded:
            sample = _sample(source, layout, name)
            if sample is not None:
                samples[name] = sample
    return YoloIndex(
        root=source.root,
        classes=_classes(layout, report, samples.values()),
        splits={
            split: tuple(samples[name] for name in names if name in samples)
            for split, names in layout.splits.items()
        },
    )


def split(
    index: YoloIndex,
    *,
    validation_share: float,
    seed: int,
    groups: Mapping[str, Hashable] | None = None,
) -> YoloIndex:
    """The index with a validation split taken from its training samples; "test" stays as it is.

    Every class has about `validation_share` (0 < s < 1) of its images there, and so have the backgrounds; a
    class of two images or more is on both sides wherever that is possible. `groups` gives for the path of an
    image what it shares with its copies: samples of one group stay on one side, and one that is not named is
    a group of its own. A val split that the dataset brings is divided anew with the rest. Raises ValueError.
    """
    samples = sorted(
        {sample.path: sample for name in ("train", "val") for sample in index.splits.get(name, ())}.values(),
        key=lambda sample: sample.path,
    )
    presence = [frozenset(box.label for box in sample.boxes) for sample in samples]
    named = groups or {}
    keys = [named.get(sample.path, ("alone", sample.path)) for sample in samples]
    train, validation = stratified_by_presence(presence, keys, val_fraction=validation_share, seed=seed)
    divided = {
        "train": tuple(samples[position] for position in train),
        "val": tuple(samples[position] for position in validation),
    }
    return replace(index, splits={**index.splits, **divided})


def likeness(index: YoloIndex, report: Report) -> Mapping[str, Hashable]:
    """The groups of copies and near copies that the report found, by path, as `split` takes them.

    Exact copies are looked for again where the samples are not those of the report.
    """
    paths = sorted({sample.path for samples in index.splits.values() for sample in samples})
    groups: Sequence[Hashable] = report.groups
    if len(groups) != len(paths):
        # Reading every file only to find no copies again would cost seconds at each start.
        if report.splits and not groups and not report.counts.get(Code.DUPLICATE_IMAGE):
            return {}
        groups = content_groups(FolderSource(index.root), paths)
    return dict(zip(paths, groups, strict=True))


def class_names(layout: Layout, highest_label: int) -> tuple[str, ...]:
    """The names of the classes: those the dataset gives, or else the numbers up to the highest one used."""
    return layout.classes or tuple(map(str, range(highest_label + 1)))


def read_label(source: Source, layout: Layout, image: str) -> Label:
    """The label of an image; without boxes where there is no file."""
    name = layout.labels.get(image)
    if name is None:
        return Label()
    if (size_bytes := source.size(name)) > MAX_LABEL_BYTES:
        return label_too_large(size_bytes)
    return parse_label(
        source.read(name),
        class_count=len(layout.classes) if layout.classes else None,
        keypoint_values=layout.keypoint_values,
    )


def _classes(layout: Layout, report: Report | None, samples: Iterable[YoloSample]) -> tuple[str, ...]:
    if layout.classes is None and report is not None and report.classes:
        return report.classes
    return class_names(layout, max((box.label for sample in samples for box in sample.boxes), default=-1))


def _sample(source: FolderSource, layout: Layout, name: str) -> YoloSample | None:
    """The sample, or None where the image or its label is of no use."""
    size = upright_size(source.root / name)
    if size is None:
        return None
    label = read_label(source, layout, name)
    return YoloSample(name, label.at_size(*size).boxes, size) if label.usable else None
