"""Which format a dataset seems to have, by the names of its files and a look into a few of them.

A hint for people, never a decision: what is wrong with a dataset is told by the check of its format.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tuneyard.datasets import captioned, image_folder, jsonl, yolo
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveError, ArchiveLimits
from tuneyard.datasets.captioned_layout import METADATA_NAMES, repeats_of
from tuneyard.datasets.jsonl_source import DATA_EXTENSIONS, is_single_file
from tuneyard.datasets.names import extension, is_image_name
from tuneyard.datasets.source import Source, open_source
from tuneyard.datasets.yolo_layout import label_names

_LOOKED_AT = 20
_START_BYTES = 4096
_NAMED = 3


@dataclass(frozen=True)
class Guess:
    """A format, and what speaks for it."""

    format: str
    seen: str
    """Such as "it has a 'data.yaml'"."""


def guess_format(path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> Guess | None:
    """The format that the folder, ZIP or other file at `path` seems to have; None where nothing tells."""
    try:
        if is_single_file(path):
            return _of_file(path)
        with open_source(path, limits=limits) as source:
            return guess(source)
    except (ArchiveError, OSError):
        return None


def guess(source: Source) -> Guess | None:
    """The same for an open dataset. Raises what reading a file raises."""
    names = source.names()
    images = [name for name in names if is_image_name(name)]
    if not images:
        data = next((name for name in names if _is_data(name)), None)
        return Guess(jsonl.FORMAT, f"it has no images, and {data!r} is a file of examples") if data else None
    return _by_description(names) or _by_texts(source, images) or _by_folders(source)


def _of_file(path: Path) -> Guess | None:
    with path.open("rb") as file:
        start = file.read(_START_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    if _is_data(path.name) or start[:1] in (b"{", b"["):
        return Guess(jsonl.FORMAT, "it is one file of examples")
    return None


def _is_data(name: str) -> bool:
    return extension(name.lower().removesuffix(".gz")) in DATA_EXTENSIONS


def _by_description(names: Sequence[str]) -> Guess | None:
    for name in names:
        last = name.rpartition("/")[2].casefold()
        if last in ("data.yaml", "data.yml"):
            return Guess(yolo.FORMAT, f"it has a {name!r}")
        if last in METADATA_NAMES or extension(last) == ".caption":
            return Guess(captioned.FORMAT, f"{name!r} seems to describe its images")
    return None


def _by_texts(source: Source, images: Sequence[str]) -> Guess | None:
    """By the text files that go with images: boxes or captions."""
    texts = {name for name in source.names() if extension(name) == ".txt"}
    pairs = ((image, text) for image in images for text in label_names(image) if text in texts)
    found = [(image, text, start) for image, text, start in islice(_started(source, pairs), _LOOKED_AT)]
    boxes = [pair for pair in found if _is_box(pair[2])]
    captions = [pair for pair in found if not _is_box(pair[2])]
    if len(boxes) > len(captions):
        return Guess(yolo.FORMAT, f"{boxes[0][1]!r} seems to hold the boxes of {boxes[0][0]!r}")
    if captions:
        return Guess(captioned.FORMAT, f"{captions[0][1]!r} seems to describe {captions[0][0]!r}")
    if {"images", "labels"} <= {folder.rpartition("/")[2].casefold() for folder in source.folders}:
        return Guess(yolo.FORMAT, "it has the folders images/ and labels/")
    return None


def _started(source: Source, pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """The pairs whose text is not empty, with its first line: an empty one may be either."""
    for image, text in islice(pairs, 10 * _LOOKED_AT):
        start = next(source.chunks(text), b"")[:_START_BYTES].decode("utf-8-sig", "replace").strip()
        if start:
            yield image, text, start.splitlines()[0]


def _is_box(line: str) -> bool:
    parts = line.split()
    try:
        return len([float(part) for part in parts]) >= 5
    except ValueError:
        return False


def _by_folders(source: Source) -> Guess | None:
    repeated = [folder for folder in source.folders if repeats_of(folder.rpartition("/")[2])]
    # Several of them side by side may be classes with numbers.
    if repeated and len({folder.rpartition("/")[0] for folder in repeated}) == len(repeated):
        return Guess(captioned.FORMAT, f"{repeated[0]!r} is called like a folder of images with repeats")
    classes = image_folder.index(source).classes
    if not classes or {"images", "labels"} & {name.casefold() for name in classes}:
        return None
    named = ", ".join(f"{name}/" for name in classes[:_NAMED]) + (", …" if len(classes) > _NAMED else "")
    return Guess(image_folder.FORMAT, f"its images lie in folders by class: {named}")
