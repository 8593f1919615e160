"""Image folders with a defect of the whole set: what is planted, and where its findings have to be."""

from collections.abc import Callable, Iterable, Mapping

from tests.support.defects_images import NEVER_DRAWN, Defect, Files, Place, encoded, picture
from tuneyard.datasets import Code


def _changed(name: str, plant: Callable[[Files], None], *places: Place) -> Defect:
    return Defect(name, plant, frozenset(places))


def _keep(files: Files, wanted: Callable[[str], bool]) -> None:
    for name in [name for name in files if not wanted(name)]:
        del files[name]


def _more(files: Files, folder: str, count: int, *, first: int) -> None:
    for number in range(count):
        files[f"{folder}/more-{number:03}.png"] = encoded(picture(NEVER_DRAWN + first + number))


def _empty_val(files: Files) -> None:
    _keep(files, lambda name: name.startswith("train/"))
    files["val/"] = b""


def _many_cats(files: Files) -> None:
    _more(files, "train/cat", 410, first=1000)
    _more(files, "val/cat", 60, first=1500)


def _contradict(files: Files) -> None:
    for number in range(1, 40, 2):
        files[f"train/dog/x-{number}.png"] = files[f"train/cat/{number:03}.png"]


def _break_many(files: Files) -> None:
    for number in range(1, 30, 2):
        files[f"train/cat/{number:03}.png"] = b""


def _of_one_picture(files: Files) -> None:
    for quality in range(60, 96, 3):
        files[f"train/fox/{quality}.jpg"] = encoded(picture(NEVER_DRAWN + 900), "JPEG", quality=quality)
    _keep(files, lambda name: not name.startswith("val/"))


def _copies_alone(files: Files) -> None:
    data = encoded(picture(NEVER_DRAWN + 901))
    files |= {f"train/fox/{number:03}.png": data for number in range(2)}
    _keep(files, lambda name: not name.startswith("val/"))


def _near_fox(places: Iterable[int]) -> set[Place]:
    return {(Code.NEAR_DUPLICATE_IMAGE, f"train/fox/{quality}.jpg") for quality in places}


_FOX_IS_SMALL: tuple[Place, ...] = ((Code.CLASS_SMALL, None), (Code.CLASS_IMBALANCE, None))
_BROKEN_CATS = {(Code.IMAGE_EMPTY, f"train/cat/{number:03}.png") for number in range(1, 30, 2)}
_CONTRADICTING = {(Code.DUPLICATE_IN_CLASSES, f"train/dog/x-{number}.png") for number in range(1, 40, 2)}

SET_DEFECTS: tuple[Defect, ...] = (
    _changed("no images", lambda files: files.clear(), (Code.NO_IMAGES, None)),
    _changed(
        "no train folder",
        lambda files: _keep(files, lambda name: name.startswith("val/")),
        (Code.SPLIT_TRAIN_MISSING, None),
    ),
    _changed(
        "empty val folder",
        _empty_val,
        (Code.SPLIT_EMPTY, "val"),
    ),
    _changed(
        "a split in two folders",
        lambda files: _more(files, "valid/cat", 1, first=100),
        (Code.SPLIT_FOLDERS_MERGED, "valid"),
    ),
    _changed(
        "few for validation",
        lambda files: _keep(files, lambda name: name.startswith("train/") or "/000" in name),
        (Code.SPLIT_SHARE_UNUSUAL, None),
    ),
    _changed(
        "many for validation",
        lambda files: _more(files, "val/cat", 60, first=200),
        (Code.SPLIT_SHARE_UNUSUAL, None),
    ),
    _changed(
        "one class",
        lambda files: _keep(files, lambda name: "/cat/" in name),
        (Code.CLASS_SINGLE, None),
    ),
    _changed(
        "empty class",
        lambda files: files.update({"train/fox/": b"", "val/fox/": b""}),
        (Code.CLASS_EMPTY, "train/fox"),
        (Code.CLASS_EMPTY, "val/fox"),
    ),
    _changed(
        "class in train only",
        lambda files: _more(files, "train/fox", 100, first=300),
        (Code.CLASS_MISSING_IN_SPLIT, "train/fox"),
    ),
    _changed(
        "class in val only",
        lambda files: _more(files, "val/emu", 1, first=500),
        (Code.CLASS_NOT_IN_TRAIN, "val/emu"),
    ),
    _changed(
        "class missing in test",
        lambda files: _more(files, "test/cat", 5, first=520),
        (Code.CLASS_MISSING_IN_TEST, "train/dog"),
    ),
    _changed(
        "small class",
        lambda files: _keep(files, lambda name: not ("/dog/" in name and "/09" in name)),
        (Code.CLASS_SMALL, None),
    ),
    _changed(
        "unequal classes",
        _many_cats,
        (Code.CLASS_IMBALANCE, None),
    ),
    _changed(
        "class names alike",
        lambda files: files.update(
            {name.replace("/cat/", "/Cat /"): data for name, data in _others(files, "/cat/").items()}
        ),
        (Code.CLASS_NAMES_ALIKE, "train/cat"),
    ),
    _changed(
        "contradicting labels",
        _contradict,
        (Code.LABELS_CONTRADICT, None),
        *_CONTRADICTING,
    ),
    _changed(
        "many broken images", _break_many, (Code.IMAGES_BROKEN, None), (Code.CLASS_SMALL, None), *_BROKEN_CATS
    ),
    _changed(
        "a class of one picture",
        _of_one_picture,
        (Code.CLASS_ALL_ALIKE, "train/fox"),
        *_FOX_IS_SMALL,
        *_near_fox(range(63, 96, 3)),
    ),
    _changed(
        "a class of copies",
        _copies_alone,
        (Code.CLASS_NOT_SPLITTABLE, "train/fox"),
        (Code.DUPLICATE_IMAGE, "train/fox/001.png"),
        *_FOX_IS_SMALL,
    ),
)
"""Defects of whole sets: each needs a clean set of its own."""


def _others(files: Mapping[str, bytes], part: str) -> Files:
    """As many other pictures under the names with this part."""
    return {
        name: encoded(picture(NEVER_DRAWN + 2000 + number), "PNG" if name.endswith("png") else "JPEG")
        for number, name in enumerate(name for name in files if part in name)
    }
