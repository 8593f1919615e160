"""Inspects a YOLO dataset: reads every image and every label once and says what training would stumble over.

The rules about single label files, the data.yaml and single images are in the modules that read them.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection
from statistics import median_low

from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import Placed, note_duplicates
from tuneyard.datasets.images import (
    DEFAULT_IMAGE_LIMITS,
    ImageFacts,
    ImageLimits,
    examine_all,
    note_broken_share,
    note_image,
)
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import FindingLog, Report, SplitSummary
from tuneyard.datasets.source import Source
from tuneyard.datasets.yolo import FORMAT, class_names, read_label
from tuneyard.datasets.yolo_classes import note_classes
from tuneyard.datasets.yolo_files import note_files
from tuneyard.datasets.yolo_labels import Box, Label, note_label
from tuneyard.datasets.yolo_layout import SPLITS, Layout, lay_out


def inspect(
    source: Source,
    *,
    progress: ProgressCallback | None = None,
    limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
    workers: int | None = None,
) -> Report:
    """The report about the dataset; nothing is written and nothing in its data.yaml is followed."""
    log = FindingLog()
    layout = lay_out(source, log)
    note_files(log, source, layout)
    found = _Found(source, layout, log)
    for facts in examine_all(source, layout.images, limits=limits, progress=progress, workers=workers):
        note_image(log, facts, limits=limits)
        found.add(facts)
    note_broken_share(log, len(found.broken), len(layout.images), limits=limits)
    _note_broken_labels(log, found, len(layout.images), limits)
    copies = _note_duplicates(log, layout, found)
    classes = class_names(layout, found.highest_label)
    splits = found.summaries(classes)
    note_classes(log, layout, splits, found.boxes_per_class(classes))
    return Report(
        format=FORMAT,
        findings=log.findings(),
        counts=log.counts(),
        classes=classes,
        splits=splits,
        excluded=tuple(sorted({*found.broken, *found.mislabelled})),
        samples=len(found.digests),
        median_width=median_low(found.widths) if found.widths else 0,
        median_height=median_low(found.heights) if found.heights else 0,
        files={
            "total": len(source.names()),
            "images": len(layout.images),
            "broken": len(found.broken),
            "duplicates": copies,
            "ignored": source.ignored,
            "labels": len(set(layout.labels.values())),
            "boxes": found.boxes,
            "backgrounds": found.backgrounds,
        },
    )


class _Found:
    """What is kept of the images and labels while they are read: a few bytes of each."""

    def __init__(self, source: Source, layout: Layout, log: FindingLog) -> None:
        self._source = source
        self._layout = layout
        self._log = log
        self._noted: set[str] = set()
        self._splits_of: dict[str, list[str]] = defaultdict(list)
        for split, names in layout.splits.items():
            for name in names:
                self._splits_of[name].append(split)
        self._images: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._boxes: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._samples: Counter[str] = Counter()
        self.broken: list[str] = []
        self.mislabelled: list[str] = []
        self.digests: dict[str, bytes] = {}
        self.objects: dict[str, int] = {}
        """A number for the objects of an image: equal for equal ones."""
        self.widths, self.heights = array("L"), array("L")
        self.boxes = 0
        self.backgrounds = 0
        self.highest_label = -1

    def add(self, facts: ImageFacts) -> None:
        """Takes in one image and reads its label."""
        label = self._label(facts)
        if facts.problem is not None:
            self.broken.append(facts.name)
        elif not label.usable:
            self.mislabelled.append(facts.name)
        else:
            self._use(facts, label.boxes)

    def summaries(self, classes: tuple[str, ...]) -> dict[str, SplitSummary]:
        """The usable images of each split; a class counts an image that has any object of it."""
        return {
            split: SplitSummary(
                samples=self._samples[split],
                per_class={name: self._images[split][number] for number, name in enumerate(classes)},
            )
            for split in SPLITS
            if split in self._images
        }

    def boxes_per_class(self, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
        """The objects of each class in the usable images of each split."""
        return {
            split: {name: counts[number] for number, name in enumerate(classes)}
            for split, counts in self._boxes.items()
        }

    def _label(self, facts: ImageFacts) -> Label:
        name = self._layout.labels.get(facts.name)
        label = read_label(self._source, self._layout, facts.name)
        if facts.problem is None:
            label = label.at_size(facts.width, facts.height)
        # Two images may share a label.
        if name is not None and name not in self._noted:
            self._noted.add(name)
            note_label(self._log, name, label)
            if label.is_empty:
                self._log.add(Code.LABEL_EMPTY, f"{name!r} names no object.", path=name)
        return label

    def _use(self, facts: ImageFacts, boxes: tuple[Box, ...]) -> None:
        self.digests[facts.name] = facts.digest
        self.objects[facts.name] = hash(boxes)
        self.widths.append(facts.width)
        self.heights.append(facts.height)
        self.boxes += len(boxes)
        self.backgrounds += not boxes
        labels = Counter(box.label for box in boxes)
        self.highest_label = max(self.highest_label, *labels, -1)
        for split in self._splits_of[facts.name]:
            self._samples[split] += 1
            self._images[split].update(labels.keys())
            self._boxes[split].update(labels)


def _note_broken_labels(log: FindingLog, found: _Found, total: int, limits: ImageLimits) -> None:
    """Adds the verdict about all labels that cannot be used: too many, or skipped with their images."""
    if not found.mislabelled:
        return
    share = len(found.mislabelled) / total
    seen = f"The labels of {len(found.mislabelled)} of {total} images ({share:.1%}) cannot be used"
    allowed = f"{limits.max_broken_share:.0%} may be so."
    log.add(
        Code.LABELS_BROKEN if share > limits.max_broken_share else Code.LABELS_SKIPPED, f"{seen}; {allowed}"
    )


def _note_duplicates(log: FindingLog, layout: Layout, found: _Found) -> int:
    """Adds findings about copies of images, each of which counts in the first split that has it."""
    splits = {name: split for split in reversed(SPLITS) for name in layout.splits.get(split, ())}
    first: dict[bytes, str] = {}
    for name, digest in found.digests.items():
        original = first.setdefault(digest, name)
        if found.objects[original] != found.objects[name]:
            seen = f"{name!r} is the same image as {original!r}, and its label names other objects."
            log.add(Code.LABEL_UNLIKE_COPY, seen, path=layout.labels.get(name, name))
    return note_duplicates(
        log, (Placed(name, digest, splits[name], None) for name, digest in found.digests.items())
    )


def companions(source: Source, left_out: Collection[str]) -> frozenset[str]:
    """What has to be left out with some files: the images of labels, and the labels of images.

    Without its label an image would pass for a background; without its image a label would be a finding.
    """
    layout = lay_out(source, FindingLog())
    images = {image for image, label in layout.labels.items() if label in left_out or image in left_out}
    labels = {layout.labels[image] for image in images}
    still_used = {label for image, label in layout.labels.items() if image not in images}
    return frozenset({*left_out, *images, *(labels - still_used)})
