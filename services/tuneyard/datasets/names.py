"""Rules about names of files: what is junk, what is an image, what is the dataset's top folder.

A name is a relative path with forward slashes. Nothing here touches a file system.
"""

import os.path
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

# What Pillow reads with the decoders that are allowed (see images.py), by extension.
IMAGE_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

ARCHIVE_EXTENSIONS = (
    ".zip",
    ".tar",
    ".gz",
    ".tgz",
    ".bz2",
    ".tbz2",
    ".xz",
    ".txz",
    ".zst",
    ".7z",
    ".rar",
    ".jar",
)

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

CLASS_FOLDERS = frozenset({"class", "class_images", "reg", "reg_images", "regularization", "regularisation"})
"""Of captioned images: those that hold class (regularisation) images."""

# Folders that mean something where they are, so that they are never taken for the folder around a dataset.
_MEANINGFUL_FOLDERS = frozenset({*SPLIT_FOLDERS, "images", "labels"})

_REPEATED_FOLDER = re.compile(r"\d+_.*\S.*")

_JUNK_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
_JUNK_FOLDERS = frozenset(
    {
        "__macosx",
        "__pycache__",
        ".ipynb_checkpoints",
        ".git",
        ".spotlight-v100",
        ".trashes",
        ".fseventsd",
        "$recycle.bin",
    }
)


_NAMED = 3
_COMPARED = 20_000
"""Of the names, so that a wrong one is answered within a second."""


def extension(name: str) -> str:
    """The extension in lower case with its dot, or an empty string."""
    return os.path.splitext(name)[1].lower()


def is_image_name(name: str) -> bool:
    """Whether the name promises an image that can be trained on."""
    return extension(name) in IMAGE_FORMATS


def is_junk(name: str) -> bool:
    """Whether operating systems and tools leave such files behind without anyone asking for them."""
    *folders, last = name.casefold().rstrip("/").split("/")
    if any(folder in _JUNK_FOLDERS for folder in folders):
        return True
    return last in _JUNK_FILES or last in _JUNK_FOLDERS or last.startswith("._")


def identity(name: str) -> str:
    """Equal for names that some file system takes for the same file (Windows and macOS ignore case)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def parents(name: str) -> Iterable[str]:
    """The folders above a name, the nearest first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def told_unknown(unknown: str, names: Sequence[str]) -> str:
    """What to tell of a name that is to be left out and is not among the names: which ones may be meant."""
    last = unknown.rpartition("/")[2]
    near = [name for name in names if name.rpartition("/")[2] == last][:_NAMED]
    near = near or get_close_matches(unknown, names[:_COMPARED], n=_NAMED, cutoff=0.75)
    meant = f" Is {' or '.join(map(repr, near))} meant?" if near else ""
    return f"{unknown!r} was to be left out and is not there.{meant}"


def top_folder(files: Collection[str], folders: Collection[str]) -> str:
    """The folder that merely wraps the dataset, with its closing slash, or an empty string.

    `dataset/train/cat/1.png` is wrapped by `dataset/`. A folder of nothing but images is a class, no wrapper,
    and neither is one whose name says what it is (`train`, `images`, `10_name` around images and captions).
    Wrappers in wrappers are all taken off, so that looking again at what was unpacked finds none.
    """
    prefix = ""
    while inner := _wrapper(files, folders, prefix):
        prefix = f"{prefix}{inner}/"
    return prefix


def _wrapper(files: Collection[str], folders: Collection[str], prefix: str) -> str:
    start = len(prefix)
    entries = {name[start:].split("/", 1)[0] for name in files}
    entries |= {name[start:].split("/", 1)[0] for name in folders if len(name) > start}
    if len(entries) != 1:
        return ""
    only = entries.pop()
    if prefix + only in files or only.casefold() in _MEANINGFUL_FOLDERS:
        return ""
    below = len(prefix) + len(only) + 1
    inside = [name[below:] for name in files]
    inner = {name[below:] for name in folders if len(name) > below}
    holds_other_file = any("/" not in name and not is_image_name(name) for name in inside)
    if _REPEATED_FOLDER.fullmatch(only) and not _divides(inner):
        # "10_name" around images says how often they are to be seen, and what they show: also where it has
        # folders beside them, but not where these hold most of the images, as those of classes do.
        images = [name for name in inside if is_image_name(name)]
        direct = sum("/" not in name for name in images)
        return only if inner and 2 * direct < max(len(images), 1) else ""
    return only if inner or holds_other_file else ""


def _divides(folders: Iterable[str]) -> bool:
    return any(name.casefold() in _MEANINGFUL_FOLDERS | CLASS_FOLDERS for name in folders)
