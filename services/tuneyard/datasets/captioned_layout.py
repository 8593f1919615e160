"""Which files of a captioned-images dataset are what, by their names: images, captions, metadata, splits.

Knows the conventions of kohya's scripts (folders called "10_name" and "reg"), of sidecar files and of the
imagefolder layout; opens no file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuneyard.datasets.names import CLASS_FOLDERS, SPLIT_FOLDERS, extension, is_image_name
from tuneyard.datasets.source import Source

SPLITS = ("train", "val", "test")
CAPTION_EXTENSIONS = (".txt", ".caption")
"""In the order in which they are looked for."""
METADATA_NAMES = frozenset({"metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.csv"})
MAX_REPEATS = 1000
"""A larger number before a folder's name is taken for a year or an id."""

_REPEATS = re.compile(r"(\d+)_(.*\S.*)")


@dataclass(frozen=True, slots=True)
class Place:
    """What an image's folders say about it."""

    split: str
    is_class: bool
    """Whether it is one of the class (regularisation) images."""
    repeats: int = 1
    """How often it is seen in an epoch; 0 for an image that its folder turns off."""
    prompt: str = ""
    """The name in a folder "10_name", the caption of images that have no other; "" elsewhere."""


@dataclass(frozen=True)
class Layout:
    """The files of a dataset by what they are for; names are sorted."""

    images: tuple[str, ...]
    """All images that may be used, of every split."""
    places: Mapping[str, Place]
    """By image."""
    captions: Mapping[str, tuple[str, ...]]
    """By image, its caption files, the one that counts first."""
    metadata: tuple[str, ...]
    outside: tuple[str, ...]
    """Images beside split folders, which are not used."""
    turned_off: tuple[str, ...]
    """Images in folders with the repeats 0."""
    stray_captions: tuple[str, ...]
    """Caption files that no image has the name of."""
    others: tuple[str, ...]
    """Files that are neither images nor captions nor metadata."""
    split_folders: Mapping[str, tuple[str, ...]]
    """By split, the folders at the root that hold it."""
    repeat_folders: Mapping[str, int]
    """Folders that are called "10_name", with the number, also one beyond `MAX_REPEATS`."""

    @property
    def has_val(self) -> bool:
        """Whether the dataset brings its own validation split."""
        return "val" in self.split_folders


def repeats_of(folder_name: str) -> tuple[int, str] | None:
    """The repeats and the name of a folder that is called "10_name"; None for any other."""
    found = _REPEATS.fullmatch(folder_name)
    return (int(found[1]), found[2].strip()) if found and len(found[1]) <= 9 else None


def lay_out(source: Source) -> Layout:
    """Finds images, captions and splits; opens no file."""
    roots = [folder for folder in source.folders if "/" not in folder]
    split_of = {root: SPLIT_FOLDERS[root.casefold()] for root in roots if root.casefold() in SPLIT_FOLDERS}
    places: dict[str, Place] = {}
    by_folder: dict[str, Place | None] = {}
    texts, metadata, outside, turned_off, others = [list[str]() for _ in range(5)]
    for name in source.names():
        folder, _, last = name.rpartition("/")
        if is_image_name(name):
            if folder not in by_folder:
                by_folder[folder] = _place(folder, split_of)
            place = by_folder[folder]
            if place is None:
                outside.append(name)
            elif place.repeats:
                places[name] = place
            else:
                turned_off.append(name)
        elif last.casefold() in METADATA_NAMES:
            metadata.append(name)
        elif extension(name) in CAPTION_EXTENSIONS:
            texts.append(name)
        else:
            others.append(name)
    captions = _captions(source, texts)
    split_folders: dict[str, tuple[str, ...]] = {}
    for root, split in split_of.items():
        split_folders[split] = (*split_folders.get(split, ()), root)
    used = {text for texts_of in captions.values() for text in texts_of}
    return Layout(
        images=tuple(places),
        places=places,
        captions={name: texts_of for name, texts_of in captions.items() if name in places},
        metadata=tuple(metadata),
        outside=tuple(outside),
        turned_off=tuple(turned_off),
        stray_captions=tuple(name for name in texts if name not in used),
        others=tuple(others),
        split_folders=split_folders,
        repeat_folders={
            folder: found[0] for folder in source.folders if (found := repeats_of(_last(folder)))
        },
    )


def _place(folder: str, split_of: Mapping[str, str]) -> Place | None:
    """Where images of a folder belong; None for one beside split folders."""
    parts = folder.split("/") if folder else []
    split = split_of.get(parts[0]) if parts else None
    is_class = any(part.casefold() in CLASS_FOLDERS for part in parts[: 2 if split else 1])
    if split is None:
        if "train" in split_of.values() and not is_class:
            return None
        split = "train"
    for part in reversed(parts):
        found = repeats_of(part)
        if found and found[0] <= MAX_REPEATS:
            return Place(split, is_class, repeats=found[0], prompt=found[1])
    return Place(split, is_class)


def _captions(source: Source, texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By image, the caption files with its name: "1.txt", "1.caption" or "1.jpg.txt" for "1.jpg"."""
    by_stem: dict[str, list[str]] = {}
    for text in sorted(texts, key=lambda text: CAPTION_EXTENSIONS.index(extension(text))):
        by_stem.setdefault(_stem(text), []).append(text)
    found = {}
    for name in source.names():
        if is_image_name(name):
            own = (*by_stem.get(_stem(name), ()), *by_stem.get(name, ()))
            if own:
                found[name] = own
    return found


def _stem(name: str) -> str:
    return name[: -len(extension(name))]


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]
