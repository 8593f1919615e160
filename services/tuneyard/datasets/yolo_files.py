"""What a YOLO dataset's names alone show: labels without images, images without labels, stray files."""

from collections import defaultdict
from itertools import combinations

from tuneyard.datasets.codes import Code
from tuneyard.datasets.images import sniff
from tuneyard.datasets.names import extension, is_image_name
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source
from tuneyard.datasets.yolo_layout import SPLITS, Layout, label_names

_OTHER_LABEL_FORMATS = {".xml": "Pascal VOC", ".json": "COCO or LabelMe"}


def note_files(log: FindingLog, source: Source, layout: Layout) -> None:
    """Adds the findings for which neither image nor label has to be read."""
    for name in source.links:
        log.add(Code.LINK_IGNORED, f"{name!r} is a link or a special file.", path=name)
    for name in layout.outside:
        log.add(Code.IMAGE_OUTSIDE_SPLITS, f"{name!r} belongs to no split.", path=name)
    _note_images_without_label(log, layout)
    _note_shared_labels(log, layout)
    _note_shared_images(log, layout)
    _note_strays(log, source, layout)


def _note_images_without_label(log: FindingLog, layout: Layout) -> None:
    # Where there is no label at all, one finding says so.
    if layout.labels:
        for name in layout.images:
            if name not in layout.labels:
                seen = f"{name!r} has no label: there is no {label_names(name)[0]!r}."
                log.add(Code.LABEL_MISSING, seen, path=name)


def _note_shared_labels(log: FindingLog, layout: Layout) -> None:
    images_of: dict[str, list[str]] = defaultdict(list)
    for image, label in sorted(layout.labels.items()):
        images_of[label].append(image)
    for label, images in sorted(images_of.items()):
        if len(images) > 1:
            seen = f"{label!r} is the label of both {images[0]!r} and {images[1]!r}."
            log.add(Code.LABEL_SHARED, seen, path=label)


def _note_shared_images(log: FindingLog, layout: Layout) -> None:
    for one, other in combinations(SPLITS, 2):
        shared = sorted({*layout.splits.get(one, ())} & {*layout.splits.get(other, ())})
        if shared:
            seen = f"{len(shared)} images are in both {one} and {other}, such as {shared[0]!r}."
            log.add(Code.SPLIT_IMAGES_SHARED, seen, path=shared[0])


def _note_strays(log: FindingLog, source: Source, layout: Layout) -> None:
    """Files beside the images and the labels that are neither."""
    images = [name for name in source.names() if is_image_name(name)]
    expected = {label for image in images for label in label_names(image)}
    image_folders = {_folder(name) for name in layout.images}
    label_folders = {_folder(label_names(name)[0]) for name in layout.images}
    for name in source.names():
        folder, kind = _folder(name), extension(name)
        of_label = folder in label_folders or "labels" in folder.casefold().split("/")
        if name in layout.description or name in expected or is_image_name(name):
            continue
        if kind in _OTHER_LABEL_FORMATS and (of_label or folder in image_folders) and folder:
            seen = f"{name!r} looks like a label for {_OTHER_LABEL_FORMATS[kind]}; it is not used."
            log.add(Code.LABEL_FORMAT_UNSUPPORTED, seen, path=name)
        elif kind == ".txt" and of_label and folder:
            log.add(Code.LABEL_WITHOUT_IMAGE, f"There is no image for {name!r}.", path=name)
        elif folder in image_folders and folder:
            _note_other(log, source, name)


def _note_other(log: FindingLog, source: Source, name: str) -> None:
    if actual := sniff(source, name):
        seen = f"{name!r} is a {actual} image by its content; it is not used under this name."
        log.add(Code.IMAGE_WRONG_EXTENSION, seen, path=name)
    else:
        log.add(Code.FILE_NOT_AN_IMAGE, f"{name!r} is not named like an image.", path=name)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
