"""Inspects a YOLO dataset: reads every image and every label once and says what training would stumble over.

The rules about single label files, the data.yaml and single images are in the modules that read them.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import Copies, Placed, likeness_groups
from tuneyard.datasets.image_set import ImageSet
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

_MAX_GROUP_SHARE = 0.5
_LEFT_OUT = -1


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
    names = layout.images
    images = ImageSet(names, limits=limits)
    found = _Found(source, layout, log)
    for facts in examine_all(source, names, limits=limits, progress=progress, workers=workers):
        note_image(log, facts, limits=limits)
        images.add(facts)
        found.add(facts, images.contents[-1])
    note_broken_share(log, len(images.broken), len(names), limits=limits)
    images.note_unlike_others(log)
    _note_broken_labels(log, found, len(names), limits)
    _note_unlike_copies(log, layout, names, found)
    copies = images.note_copies(log, _placed(layout, names, found), progress=progress)
    classes = class_names(layout, found.highest_label)
    splits = found.summaries(classes)
    note_classes(log, layout, splits)
    groups = () if "val" in splits else _groups(log, found, copies)
    width, height = images.median_size
    return Report(
        format=FORMAT,
        findings=log.findings(),
        counts=log.counts(),
        classes=classes,
        splits=splits,
        excluded=tuple(sorted({*images.broken, *found.mislabelled})),
        samples=found.used,
        median_width=width,
        median_height=height,
        sides=images.sides,
        files={
            "total": len(source.names()),
            "images": len(names),
            "broken": len(images.broken),
            "duplicates": copies.count,
            "ignored": source.ignored,
            "labels": len(set(layout.labels.values())),
            "boxes": found.boxes,
            "backgrounds": found.backgrounds,
        },
        groups=groups,
        paths=_paths_of_samples(log, layout),
    )


class _Found:
    """What is kept of the images and labels while they are read: a few bytes of each."""

    def __init__(self, source: Source, layout: Layout, log: FindingLog) -> None:
        self._source = source
        self._layout = layout
        self._log = log
        self._noted: set[str] = set()
        # One tuple for all images of the same splits: there may be millions.
        self._splits_of: dict[str, tuple[str, ...]] = {}
        for split, names in layout.splits.items():
            own = (split,)
            for name in names:
                earlier = self._splits_of.get(name)
                self._splits_of[name] = own if earlier is None else earlier + own
        self._images: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._boxes: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._samples: Counter[str] = Counter()
        self.mislabelled: list[str] = []
        self.contents = array("i")
        """Of each image a number that it shares with equal ones; negative where it is not used."""
        self.objects = array("q")
        """Of each image a number for its objects: equal for equal ones."""
        self.used = 0
        self.boxes = 0
        self.backgrounds = 0
        self.highest_label = -1

    def add(self, facts: ImageFacts, content: int) -> None:
        """Takes in one image and reads its label."""
        label = self._label(facts)
        is_used = facts.problem is None and label.usable
        self.contents.append(content if is_used else _LEFT_OUT)
        self.objects.append(hash(label.boxes) if is_used else 0)
        if is_used:
            self._use(facts.name, label.boxes)
        elif facts.problem is None:
            self.mislabelled.append(facts.name)

    def summaries(self, classes: tuple[str, ...]) -> dict[str, SplitSummary]:
        """The usable images of each split; a class counts an image that has any object of it."""
        return {
            split: SplitSummary(
                samples=self._samples[split],
                per_class={name: self._images[split][number] for number, name in enumerate(classes)},
                boxes_per_class={name: self._boxes[split][number] for number, name in enumerate(classes)},
            )
            for split in SPLITS
            if split in self._images
        }

    def _label(self, facts: ImageFacts) -> Label:
        name = self._layout.labels.get(facts.name)
        label = read_label(self._source, self._layout, facts.name)
        if facts.problem is None:
            label = label.at_size(*facts.upright_size)
            if facts.orientation != 1 and label.boxes:
                seen = f"{facts.name!r} is stored turned or mirrored; its boxes are read as drawn upright."
                self._log.add(Code.LABEL_OF_TURNED_IMAGE, seen, path=name)
        # Two images may share a label.
        if name is not None and name not in self._noted:
            self._noted.add(name)
            note_label(self._log, name, label)
            if label.is_empty:
                self._log.add(Code.LABEL_EMPTY, f"{name!r} names no object.", path=name)
        return label

    def _use(self, name: str, boxes: tuple[Box, ...]) -> None:
        self.used += 1
        self.boxes += len(boxes)
        self.backgrounds += not boxes
        labels = Counter(box.label for box in boxes)
        self.highest_label = max(self.highest_label, *labels, -1)
        for split in self._splits_of[name]:
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


def _note_unlike_copies(log: FindingLog, layout: Layout, names: Sequence[str], found: _Found) -> None:
    """Adds a finding for each copy of an image whose label names other objects than the first one's."""
    first = array("i", [_LEFT_OUT]) * (max(found.contents, default=-1) + 1)
    for number, content in enumerate(found.contents):
        if content < 0:
            continue
        if first[content] == _LEFT_OUT:
            first[content] = number
        name, original = names[number], names[first[content]]
        if found.objects[first[content]] != found.objects[number]:
            seen = f"{name!r} is the same image as {original!r}, and its label names other objects."
            log.add(Code.LABEL_UNLIKE_COPY, seen, path=layout.labels.get(name, name))


def _placed(layout: Layout, names: Sequence[str], found: _Found) -> Iterator[Placed]:
    """The usable images, each in the first split that has it; those of all classes may look alike."""
    splits = {name: split for split in reversed(SPLITS) for name in layout.splits.get(split, ())}
    for name, content in zip(names, found.contents, strict=True):
        if content >= 0:
            yield Placed(name, content, splits[name], None)


def _groups(log: FindingLog, found: _Found, copies: Copies) -> tuple[int, ...]:
    """The groups of images that an automatic split keeps together; empty where each is by itself."""
    exact = likeness_groups(found.contents, ())
    if exact and max(exact) == 0:
        log.add(Code.IMAGES_NOT_SPLITTABLE, "All usable images are the same.")
    groups = likeness_groups(found.contents, copies.near)
    if groups and max(Counter(groups).values()) > _MAX_GROUP_SHARE * len(groups):
        # Better a split with near copies on both sides, and a finding that says so, than none.
        log.add(
            Code.IMAGES_ALL_ALIKE, "More than half of the images are nearly alike, like frames of a film."
        )
        groups = exact
    return tuple(groups) if max(groups, default=-1) + 1 < len(groups) else ()


def _paths_of_samples(log: FindingLog, layout: Layout) -> dict[Code, Collection[str]]:
    """By code, the images and labels with findings: no version of a dataset leaves out its data.yaml."""
    files = {*layout.images, *layout.outside, *layout.labels.values()}
    stray = (Code.LABEL_WITHOUT_IMAGE, Code.LABEL_FORMAT_UNSUPPORTED, Code.FILE_NOT_AN_IMAGE)
    return {
        code: paths if code in stray else [path for path in paths if path in files]
        for code, paths in log.paths().items()
    }


def companions(source: Source, left_out: Collection[str]) -> frozenset[str]:
    """What has to be left out with some files: the images of labels, and the labels of images.

    Without its label an image would pass for a background; without its image a label would be a finding.
    What describes the dataset, such as its data.yaml, always stays, since a finding about it is about all.
    """
    layout = lay_out(source, FindingLog())
    images = {image for image, label in layout.labels.items() if label in left_out or image in left_out}
    labels = {layout.labels[image] for image in images}
    still_used = {label for image, label in layout.labels.items() if image not in images}
    return frozenset({*left_out, *images, *(labels - still_used)}) - layout.description
