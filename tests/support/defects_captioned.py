"""Captioned images with planted defects: what is planted, and where its finding has to be.

Everything is drawn from seeds; the clean sets have nothing to find.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tests.support.defects_images import encoded, picture
from tuneyard.datasets import Code

Files = dict[str, bytes]
Place = tuple[Code, str | None, int | None]
SIDE = 1024
COUNT = 20
_NEVER_DRAWN = 10_000


@dataclass(frozen=True)
class CaptionedDefect:
    """Something wrong with a clean set, and every finding that has to come of it."""

    name: str
    plant: Callable[[Files], None]
    places: frozenset[Place]


@cache
def photo(seed: int, *, width: int = SIDE, height: int = SIDE) -> bytes:
    """A JPEG like no other seed's."""
    return encoded(picture(seed, size=(width, height)), "JPEG", quality=60)


def clean_set() -> Files:
    """Twenty images, each with a caption file."""
    files: Files = {}
    for number in range(COUNT):
        files[f"{number:02}.jpg"] = photo(number)
        files[f"{number:02}.txt"] = f"patches of colour, number {number}".encode()
    return files


def metadata_set() -> Files:
    """The same images, described in a metadata.jsonl."""
    files = {name: data for name, data in clean_set().items() if name.endswith(".jpg")}
    files["metadata.jsonl"] = "".join(
        json.dumps({"file_name": name, "text": f"patches, number {number}"}) + "\n"
        for number, name in enumerate(files)
    ).encode()
    return files


def kohya_set() -> Files:
    """The same images without captions, in a folder with repeats."""
    return {f"img/10_sks patch/{name}": data for name, data in clean_set().items() if name.endswith(".jpg")}


def _added(name: str, code: Code, path: str, data: Callable[[], bytes], *others: Place) -> CaptionedDefect:
    """An image with a caption of its own, or a file of another kind."""

    def plant(files: Files) -> None:
        files[path] = data()
        if path.endswith((".jpg", ".png")):
            files[path[:-4] + ".txt"] = b"a caption"

    return CaptionedDefect(name, plant, frozenset({(code, path, None), *others}))


def _caption(name: str, code: Code, number: int, data: bytes, line: int | None = 1) -> CaptionedDefect:
    """Another caption of one of the images."""
    path = f"{number:02}.txt"
    return CaptionedDefect(name, lambda files: files.update({path: data}), frozenset({(code, path, line)}))


def _changed(name: str, plant: Callable[[Files], None], *places: Place) -> CaptionedDefect:
    return CaptionedDefect(name, plant, frozenset(places))


def _transparent() -> bytes:
    image = picture(_NEVER_DRAWN + 1, size=(SIDE, SIDE))
    image.putalpha(image.convert("L"))
    return encoded(image)


_SKIPPED: Place = (Code.IMAGES_SKIPPED, None, None)
_SMALLER: Place = (Code.IMAGES_BELOW_RESOLUTION, None, None)

FILE_DEFECTS: tuple[CaptionedDefect, ...] = (
    _added("no image", Code.IMAGE_UNREADABLE, "text.jpg", lambda: b"this is text", _SKIPPED),
    _added(
        "too small",
        Code.IMAGE_BELOW_RESOLUTION,
        "small.jpg",
        lambda: photo(_NEVER_DRAWN + 2, width=400, height=300),
        _SMALLER,
    ),
    _added(
        "extreme aspect ratio",
        Code.IMAGE_BEYOND_BUCKETS,
        "long.jpg",
        lambda: photo(_NEVER_DRAWN + 3, width=3000, height=500),
    ),
    _added("transparent pixels", Code.IMAGE_TRANSPARENT, "icon.png", _transparent),
    _added("copy", Code.DUPLICATE_IMAGE, "x-copy.jpg", lambda: photo(3)),
    _added(
        "saved again",
        Code.NEAR_DUPLICATE_IMAGE,
        "x-saved.jpg",
        lambda: encoded(picture(4, size=(SIDE, SIDE)), "JPEG", quality=30),
    ),
    _caption("empty caption", Code.CAPTION_EMPTY, 5, b" \n"),
    _caption("long caption", Code.CAPTION_LONG, 6, b"a very long caption, " * 20),
    _caption("caption in Latin-1", Code.CAPTION_NOT_TEXT, 7, "caf\xe9".encode("latin-1"), None),
    _caption("binary caption", Code.CAPTION_NOT_TEXT, 8, b"a\0b", None),
    _caption("two lines", Code.CAPTION_SEVERAL_LINES, 9, b"one line\nand another\n"),
    _changed(
        "no caption",
        lambda files: files.update({"bare.jpg": photo(_NEVER_DRAWN + 4)}),
        (Code.CAPTION_MISSING, "bare.jpg", None),
    ),
    _added("caption without image", Code.CAPTION_WITHOUT_IMAGE, "gone.txt", lambda: b"a house"),
    _changed(
        "two captions",
        lambda files: files.update({"10.caption": b"quite another one"}),
        (Code.CAPTION_TWICE, "10.caption", 1),
    ),
    _changed(
        "one caption for two",
        lambda files: files.update({"11.png": encoded(picture(_NEVER_DRAWN + 5, size=(SIDE, SIDE)))}),
        (Code.CAPTION_SHARED, "11.png", None),
    ),
    _added("neither image nor caption", Code.FILE_NOT_AN_IMAGE, "weights.bin", lambda: b"123"),
)
"""Defects of single files: all of them may be planted into one clean set together."""


def _keep(files: Files, count: int) -> None:
    for name in [name for name in files if int(name[:2]) >= count]:
        del files[name]


def _moved(files: Files, folder: str, numbers: range) -> None:
    for number in numbers:
        for extension in ("jpg", "txt"):
            files[f"{folder}/{number:02}.{extension}"] = files.pop(f"{number:02}.{extension}")


def _without_captions(files: Files) -> None:
    for name in [name for name in files if name.endswith(".txt")]:
        del files[name]


def _one_picture(files: Files) -> None:
    _keep(files, 0)
    for number in range(12):
        files |= {f"{number:02}.jpg": photo(0), f"{number:02}.txt": b"a caption"}


def _splits(files: Files, val_from: int) -> None:
    _moved(files, "train", range(val_from))
    _moved(files, "val", range(val_from, COUNT))


def _beside(files: Files) -> None:
    _splits(files, 17)
    files |= {"x/1.jpg": photo(_NEVER_DRAWN), "x/1.txt": b"a caption"}


def _class_in_val(files: Files) -> None:
    _splits(files, 17)
    files |= {"val/class/1.jpg": photo(_NEVER_DRAWN), "val/class/1.txt": b"a caption"}


def _leaking(files: Files) -> None:
    _splits(files, 17)
    files |= {"val/x.jpg": photo(1), "val/x.txt": b"a caption"}


SET_DEFECTS: tuple[CaptionedDefect, ...] = (
    _changed("no images", lambda files: files.clear(), (Code.NO_INSTANCE_IMAGES, None, None)),
    _changed("few images", lambda files: _keep(files, 8), (Code.IMAGES_FEW, None, None)),
    _changed("no captions", _without_captions, (Code.CAPTIONS_NONE, None, None)),
    _changed(
        "one picture",
        _one_picture,
        (Code.IMAGES_NOT_SPLITTABLE, None, None),
        *((Code.DUPLICATE_IMAGE, f"{number:02}.jpg", None) for number in range(1, 12)),
    ),
    _changed("few for validation", lambda files: _splits(files, 19), (Code.SPLIT_SHARE_UNUSUAL, None, None)),
    _changed("copy in another split", _leaking, (Code.DUPLICATE_ACROSS_SPLITS, "val/x.jpg", None)),
    _changed("images beside splits", _beside, (Code.IMAGE_OUTSIDE_SPLITS, "x/1.jpg", None)),
    _changed(
        "class images",
        lambda files: _moved(files, "reg/1_patch", range(10, COUNT)),
        (Code.CLASS_IMAGES_FOUND, None, None),
    ),
    _changed("class images in val", _class_in_val, (Code.CLASS_IMAGES_NOT_TRAINED, "val/class/1.jpg", None)),
    _changed(
        "a year for repeats",
        lambda files: _moved(files, "2024_summer", range(5)),
        (Code.REPEATS_MANY, "2024_summer", None),
    ),
    _changed(
        "many repeats",
        lambda files: _moved(files, "200_summer", range(5)),
        (Code.REPEATS_MANY, "200_summer", None),
    ),
    _changed(
        "no repeats",
        lambda files: _moved(files, "0_summer", range(1)),
        (Code.REPEATS_ZERO, "0_summer", None),
        (Code.FILE_NOT_AN_IMAGE, "0_summer/00.jpg", None),
    ),
)
"""Defects of whole sets: each needs a clean set of its own."""


def _lines(*more: object) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for value in more:
            text = value if isinstance(value, str) else json.dumps(value)
            files["metadata.jsonl"] += f"{text}\n".encode()

    return plant


_FILE = "metadata.jsonl"
_NEXT = COUNT + 1

METADATA_DEFECTS: tuple[CaptionedDefect, ...] = (
    _changed("broken line", _lines("{"), (Code.METADATA_LINE_BROKEN, _FILE, _NEXT)),
    _changed("line without a name", _lines({"text": "a"}), (Code.METADATA_LINE_BROKEN, _FILE, _NEXT)),
    _changed(
        "caption that is a list",
        _lines({"file_name": "00.jpg", "text": ["a"]}),
        (Code.METADATA_LINE_BROKEN, _FILE, _NEXT),
    ),
    _changed(
        "broken lines",
        _lines("{", "["),
        (Code.METADATA_LINE_BROKEN, _FILE, _NEXT),
        (Code.METADATA_LINE_BROKEN, _FILE, _NEXT + 1),
        (Code.METADATA_BROKEN, None, None),
    ),
    _changed(
        "absent file",
        _lines({"file_name": "20.jpg", "text": "a"}),
        (Code.METADATA_IMAGE_MISSING, _FILE, _NEXT),
    ),
    _changed(
        "file outside",
        _lines({"file_name": "../00.jpg", "text": "a"}),
        (Code.METADATA_IMAGE_MISSING, _FILE, _NEXT),
    ),
    _changed(
        "image named twice",
        _lines({"file_name": "./03.jpg", "text": "a"}),
        (Code.METADATA_IMAGE_REPEATED, _FILE, _NEXT),
    ),
    _changed(
        "not UTF-8",
        lambda files: files.update({"metadata.csv": b"file_name,text\n00.jpg,\xff\n"}),
        (Code.METADATA_UNREADABLE, "metadata.csv", 2),
    ),
    _changed(
        "no column of captions",
        lambda files: files.update({"metadata.csv": b"file_name,size\n00.jpg,3\n"}),
        (Code.METADATA_UNREADABLE, "metadata.csv", 1),
    ),
    _changed(
        "ragged line",
        lambda files: files.update({"metadata.csv": b"file_name,text\n00.jpg,a, b\n"}),
        (Code.METADATA_LINE_BROKEN, "metadata.csv", 2),
    ),
)
"""Defects of metadata: planted into a clean set with a metadata.jsonl, each by itself."""
