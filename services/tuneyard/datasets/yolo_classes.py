"""Whether the classes and splits of a YOLO dataset suffice to train and to measure; numbers only."""

from collections.abc import Mapping

from tuneyard.datasets.class_balance import MAX_IMBALANCE, imbalance, note_class_sizes
from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog, SplitSummary
from tuneyard.datasets.yolo_layout import Layout


def note_classes(log: FindingLog, layout: Layout, splits: Mapping[str, SplitSummary]) -> None:
    """Adds findings about the splits as a whole and about each class."""
    train, val = splits["train"], splits.get("val")
    if not train.samples:
        log.add(Code.NO_TRAINING_IMAGES, "There is no usable training image.")
    elif not any(train.boxes_per_class.values()):
        named = "No image has a label." if not layout.labels else "No training image has a usable object."
        log.add(Code.NO_BOXES, named)
    if val is not None and not val.samples and layout.split_folders.get("val"):
        folder = layout.split_folders["val"][0]
        log.add(Code.SPLIT_EMPTY, f"The val split, {folder!r}, has no usable image.", path=folder)
    if not any(train.boxes_per_class.values()):
        return
    if layout.classes is None and not layout.names_refused:
        log.add(Code.CLASS_NAMES_MISSING, "Nothing names the classes; they are called by their numbers.")
    for name in train.per_class:
        _note_class(log, name, splits)
    note_class_sizes(log, splits)
    _note_imbalance(log, train)


def _note_class(log: FindingLog, name: str, splits: Mapping[str, SplitSummary]) -> None:
    with_objects = [split for split, summary in splits.items() if summary.boxes_per_class[name]]
    elsewhere = [split for split in with_objects if split != "train"]
    if "train" not in with_objects:
        if elsewhere:
            seen = f"Class {name!r} has objects in {' and '.join(elsewhere)} and none in train."
            log.add(Code.CLASS_NOT_TRAINED, seen)
        else:
            log.add(Code.CLASS_WITHOUT_BOXES, f"Class {name!r} has no objects.")
        return
    for split, code in (("val", Code.CLASS_NOT_VALIDATED), ("test", Code.CLASS_MISSING_IN_TEST)):
        if split in splits and splits[split].samples and split not in with_objects:
            log.add(code, f"Class {name!r} has objects in train and none in {split}.")


def _note_imbalance(log: FindingLog, train: SplitSummary) -> None:
    """Adds a finding where the classes are balanced by images and not by objects."""
    images = [count for count in train.per_class.values() if count]
    filled = {name: count for name, count in train.boxes_per_class.items() if count}
    smallest, largest = min(filled, key=filled.__getitem__), max(filled, key=filled.__getitem__)
    if max(images) <= MAX_IMBALANCE * min(images) and filled[largest] > MAX_IMBALANCE * filled[smallest]:
        seen = f"Class {largest!r} has {filled[largest]} objects in train, {smallest!r} {filled[smallest]}"
        figures = imbalance(filled, smallest, largest)
        log.add(Code.CLASS_IMBALANCE, f"{seen}: more than {MAX_IMBALANCE} to 1.", figures=figures)
