"""YOLO datasets with one planted defect each, and what a check has to say: its code, its file and its line.

The clean dataset is drawn; a defect changes some of its files. Nothing here knows how a check works.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from PIL import ExifTags, Image

from tests.support.shapes import CLASSES, Drawing, draw_shapes, label_text

Files = dict[str, bytes]
Expected = tuple[str, str | None, int | None]

_DRAWING = Drawing(size=(96, 96), max_shapes=3, smallest=0.2, largest=0.42)
YAML = "data.yaml"


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a dataset, and the findings (code, path, line) that name it."""

    name: str
    plant: Callable[[Files], None]
    expected: tuple[Expected, ...]


@cache
def _drawn(seed: int) -> tuple[bytes, bytes]:
    """An image with every class, and its label."""
    image, shapes = draw_shapes(seed, _DRAWING, labels=range(len(CLASSES)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), label_text(shapes, _DRAWING.size).encode()


def data_yaml(train: str = "images/train", val: str = "images/val") -> bytes:
    """A data.yaml in five lines: train, val, an empty one, nc and names."""
    return f"train: {train}\nval: {val}\n\nnc: {len(CLASSES)}\nnames: [{', '.join(CLASSES)}]\n".encode()


def clean_files(*, train: int = 42, val: int = 6) -> Files:
    """A dataset in the layout `images/train` and `labels/train`; every image holds each class once."""
    files: Files = {YAML: data_yaml()}
    seeds = [seed for seed in range(2 * (train + val)) if _drawn(seed)[1].count(b"\n") == len(CLASSES)]
    for position, seed in enumerate(seeds[: train + val]):
        split, number = ("train", position) if position < train else ("val", position - train)
        image, label = _drawn(seed)
        files[f"images/{split}/{number:04d}.png"] = image
        files[f"labels/{split}/{number:04d}.txt"] = label
    return files


def renamed(files: Mapping[str, bytes], *pairs: tuple[str, str]) -> Files:
    """The files with parts of their names replaced."""
    moved: Files = {}
    for name, data in files.items():
        moved_name = name
        for old, new in pairs:
            moved_name = moved_name.replace(old, new)
        moved[moved_name] = data
    return moved


def _label_line(line: str, *, number: int = 2, of: int = 3) -> Callable[[Files], None]:
    """Replaces one line of a label."""

    def plant(files: Files) -> None:
        name = f"labels/train/{of:04d}.txt"
        lines = files[name].decode().splitlines()
        lines[number - 1] = line
        files[name] = ("\n".join(lines) + "\n").encode()

    return plant


def _added_line(line: str, *, of: int = 3) -> Callable[[Files], None]:
    """Adds a fourth line to a label."""

    def plant(files: Files) -> None:
        files[f"labels/train/{of:04d}.txt"] += f"{line}\n".encode()

    return plant


def _written(name: str, data: bytes) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        files[name] = data

    return plant


def _yaml(old: str, new: str) -> Callable[[Files], None]:
    """Replaces a part of the data.yaml."""

    def plant(files: Files) -> None:
        assert old.encode() in files[YAML]
        files[YAML] = files[YAML].replace(old.encode(), new.encode())

    return plant


def _removed(*names: str) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for name in names:
            del files[name]

    return plant


def _copied(source: str, target: str) -> Callable[[Files], None]:
    """Copies an image and its label to another name."""

    def plant(files: Files) -> None:
        files[f"images/{target}.png"] = files[f"images/{source}.png"]
        files[f"labels/{target}.txt"] = files[f"labels/{source}.txt"]

    return plant


def _copied_with_other_label(files: Files) -> None:
    _copied("train/0001", "train/copy-of-0001")(files)
    files["labels/train/copy-of-0001.txt"] = files["labels/train/0002.txt"]


def _swapped_first_box(files: Files) -> None:
    first = files["labels/train/0003.txt"].decode().splitlines()[0]
    files["labels/train/0003.txt"] += f"1{first[1:]}\n".encode()


def _repeated_first_box(files: Files) -> None:
    first = files["labels/train/0003.txt"].decode().splitlines()[0]
    files["labels/train/0003.txt"] += f"{first}\n".encode()


def _mark_added(files: Files) -> None:
    files["labels/train/0003.txt"] = b"\xef\xbb\xbf" + files["labels/train/0003.txt"]


def _class_only_in(split: str) -> Callable[[Files], None]:
    """Adds a class to names that has objects in one split only."""

    def plant(files: Files) -> None:
        _four_classes(files)
        files[f"labels/{split}/0003.txt"] += b"3 0.5 0.5 0.1 0.1\n"

    return plant


def _four_classes(files: Files) -> None:
    _yaml("nc: 3", "nc: 4")(files)
    _yaml("triangle]", "triangle, star]")(files)


def _listed(*extra: str) -> Callable[[Files], None]:
    """Lists the training images in train.txt, with more lines at its end."""

    def plant(files: Files) -> None:
        _yaml("train: images/train", "train: train.txt")(files)
        images = [name for name in files if name.startswith("images/train/")]
        files["train.txt"] = "\n".join([*images, *extra, ""]).encode()

    return plant


def _without_names(files: Files) -> None:
    files[YAML] = b"train: images/train\nval: images/val\n"


def _without_labels(files: Files) -> None:
    for name in [name for name in files if name.startswith("labels/")]:
        del files[name]


def _shared_label(files: Files) -> None:
    files["images/train/0003.jpg"] = _jpeg(9001)


def _jpeg(seed: int) -> bytes:
    image, _ = draw_shapes(seed, _DRAWING, labels=(0, 1, 2))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _reencoded(source: str, target: str, *, orientation: int = 1) -> Callable[[Files], None]:
    """Saves an image again as a JPEG, perhaps marked as turned, with the same label."""

    def plant(files: Files) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(files[f"images/{source}.png"])) as image:
            image.convert("RGB").save(buffer, "JPEG", quality=90, exif=exif)
        files[f"images/{target}.jpg"] = buffer.getvalue()
        files[f"labels/{target}.txt"] = files[f"labels/{source}.txt"]

    return plant


def _turned(files: Files) -> None:
    _reencoded("train/0003", "train/0003", orientation=6)(files)
    del files[_IMAGE]


def _blank(files: Files) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", _DRAWING.size, (90, 80, 70)).save(buffer, "PNG")
    files[_IMAGE] = buffer.getvalue()


def _keypoints(files: Files) -> None:
    files[YAML] += b"kpt_shape: [2, 2]\n"
    files["labels/train/0003.txt"] = b"0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.55\n"


_LABEL = "labels/train/0003.txt"
_IMAGE = "images/train/0003.png"


def _skipped(*codes: str, line: int | None = 2) -> tuple[Expected, ...]:
    """Findings about a line that keeps its image from being used."""
    return (*((code, _LABEL, line) for code in codes), ("LABELS_SKIPPED", None, None))


def _all_classes(code: str) -> tuple[Expected, ...]:
    return tuple((code, None, None) for _ in CLASSES)


_BOX = "0.5 0.5 0.2 0.2"
_PYTHON_TAG = "!!python/object/apply:os.system ['true']"

DEFECTS: tuple[Defect, ...] = (
    # The data.yaml.
    Defect("yaml that does not parse", _yaml("nc: 3", "nc: [3"), (("YAML_INVALID", YAML, 5),)),
    Defect("yaml without keys", _written(YAML, b"- images/train\n"), (("YAML_INVALID", YAML, 1),)),
    Defect("yaml that is not text", _written(YAML, b"names: [caf\xe9]\n"), (("YAML_INVALID", YAML, None),)),
    Defect("yaml nested deeply", _yaml("nc: 3", "x: " + "[" * 3000), (("YAML_INVALID", YAML, None),)),
    Defect("path with a tag", _yaml("\n\n", f"\npath: {_PYTHON_TAG}\n"), (("YAML_INVALID", YAML, 3),)),
    Defect(
        "names with a tag",
        _yaml("[circle, square, triangle]", _PYTHON_TAG),
        (("YAML_NAMES_INVALID", YAML, 5),),
    ),
    Defect(
        "names with a gap",
        _yaml("[circle, square, triangle]", "{0: circle, 1: square, 3: triangle}"),
        (("YAML_NAMES_INVALID", YAML, 5),),
    ),
    Defect("an empty name", _yaml("square", "''"), (("YAML_NAMES_INVALID", YAML, 5),)),
    Defect("two classes of a name", _yaml("square", "circle"), (("CLASS_NAME_REPEATED", YAML, 5),)),
    Defect("nc unlike names", _yaml("nc: 3", "nc: 5"), (("YAML_NC_MISMATCH", YAML, 4),)),
    Defect("nc that is no number", _yaml("nc: 3", "nc: three"), (("YAML_INVALID", YAML, 4),)),
    Defect("a key twice", _yaml("\n\nnc: 3", "\nnc: 3\nnc: 3"), (("YAML_KEY_REPEATED", YAML, 4),)),
    Defect("an unknown key", _yaml("\n\n", "\nlicense: MIT\n"), (("YAML_KEY_IGNORED", YAML, 3),)),
    Defect(
        "a download script",
        _yaml("\n\n", "\ndownload: import os\n"),
        (("YAML_DOWNLOAD_IGNORED", YAML, 3),),
    ),
    Defect(
        "an absolute path",
        _yaml("train: images", "train: /home/somebody/shapes/images"),
        (("YAML_PATH_REWRITTEN", YAML, 1),),
    ),
    Defect(
        "a path of Windows",
        _yaml("val: images/val", r"val: C:\Users\somebody\shapes\images\val"),
        (("YAML_PATH_REWRITTEN", YAML, 2),),
    ),
    Defect("an absolute root", _yaml("\n\n", "\npath: /data/shapes\n"), (("YAML_PATH_REWRITTEN", YAML, 3),)),
    Defect(
        "a path that leads out", _yaml("val: images", "val: ../images"), (("YAML_PATH_OUTSIDE", YAML, 2),)
    ),
    Defect("a root that leads out", _yaml("\n\n", "\npath: ../shapes\n"), (("YAML_PATH_OUTSIDE", YAML, 3),)),
    Defect(
        "a split path that does not exist",
        _yaml("val: images/val", "val: pictures/held-out"),
        (
            ("SPLIT_PATH_MISSING", YAML, 2),
            *(("IMAGE_OUTSIDE_SPLITS", f"images/val/{number:04d}.png", None) for number in range(6)),
        ),
    ),
    Defect(
        "a test path that does not exist",
        _yaml("\n\n", "\ntest: images/test\n"),
        (("SPLIT_TEST_PATH_MISSING", YAML, 3),),
    ),
    Defect(
        "validation on training images",
        _yaml("val: images/val", "val: images/train"),
        (
            ("SPLIT_IMAGES_SHARED", "images/train/0000.png", None),
            ("SPLIT_SHARE_UNUSUAL", None, None),
            *(("IMAGE_OUTSIDE_SPLITS", f"images/val/{number:04d}.png", None) for number in range(6)),
        ),
    ),
    Defect(
        "two yaml files", _written("dataset.yaml", data_yaml()), (("YAML_AMBIGUOUS", "dataset.yaml", None),)
    ),
    Defect(
        "a list that names a missing image",
        _listed("images/train/9999.png"),
        (("SPLIT_LIST_ENTRY_MISSING", "train.txt", 43),),
    ),
    Defect(
        "a list with an absolute path",
        _listed("/home/somebody/images/train/0003.png"),
        (("YAML_PATH_REWRITTEN", "train.txt", 43),),
    ),
    Defect("no names", _without_names, (("CLASS_NAMES_MISSING", None, None),)),
    # Label files.
    Defect("a missing label", _removed(_LABEL), (("LABEL_MISSING", _IMAGE, None),)),
    Defect("an empty label", _written(_LABEL, b"\n"), (("LABEL_EMPTY", _LABEL, None),)),
    Defect(
        "a label without image",
        _written("labels/train/lost.txt", f"0 {_BOX}\n".encode()),
        (("LABEL_WITHOUT_IMAGE", "labels/train/lost.txt", None),),
    ),
    Defect("two images with one label", _shared_label, (("LABEL_SHARED", _LABEL, None),)),
    Defect(
        "a label for another tool",
        _written("labels/train/0003.xml", b"<annotation/>"),
        (("LABEL_FORMAT_UNSUPPORTED", "labels/train/0003.xml", None),),
    ),
    Defect("no label at all", _without_labels, (("NO_BOXES", None, None),)),
    Defect("a byte order mark", _mark_added, (("LABEL_BYTE_ORDER_MARK", _LABEL, 1),)),
    Defect(
        "a label that is not text",
        _written(_LABEL, b"0 0.5 0.5 0.2 0.2\n\xff\xfe 0.5\n"),
        _skipped("LABEL_NOT_TEXT"),
    ),
    # Lines of labels.
    Defect("too few columns", _label_line("1 0.5 0.5 0.2"), _skipped("LABEL_COLUMNS")),
    Defect("too many columns", _label_line(f"1 {_BOX} 0.9"), _skipped("LABEL_COLUMNS")),
    Defect("a word", _label_line("square 0.5 0.5 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("a decimal comma", _label_line("1 0,5 0,5 0,2 0,2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("not a number", _label_line("1 nan 0.5 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("infinity", _label_line("1 0.5 inf 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("a class and a half", _label_line(f"1.5 {_BOX}"), _skipped("LABEL_CLASS_NOT_INTEGER")),
    Defect("a class too high", _label_line(f"3 {_BOX}"), _skipped("LABEL_CLASS_UNKNOWN")),
    Defect("a negative class", _label_line(f"-1 {_BOX}"), _skipped("LABEL_CLASS_UNKNOWN")),
    Defect("a coordinate above 1", _label_line("1 1.2 0.5 0.2 0.2"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("a coordinate below 0", _label_line("1 0.5 -0.1 0.2 0.2"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("pixels", _label_line("1 48 48 20 20"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("a width of zero", _label_line("1 0.5 0.5 0 0.2"), _skipped("LABEL_SIZE_NOT_POSITIVE")),
    Defect("a negative height", _label_line("1 0.5 0.5 0.2 -0.2"), _skipped("LABEL_SIZE_NOT_POSITIVE")),
    Defect("less than a pixel", _added_line("1 0.5 0.5 0.005 0.2"), (("LABEL_BOX_TINY", _LABEL, 4),)),
    Defect("a box over the edge", _added_line("1 0.95 0.5 0.2 0.2"), (("LABEL_BOX_CUT", _LABEL, 4),)),
    Defect("an object twice", _repeated_first_box, (("LABEL_BOX_REPEATED", _LABEL, 4),)),
    Defect("a box of two classes", _swapped_first_box, (("LABEL_BOX_IN_CLASSES", _LABEL, 4),)),
    Defect("a polygon", _added_line("1 0.2 0.2 0.4 0.2 0.3 0.4"), (("LABEL_CONVERTED", _LABEL, 4),)),
    Defect("keypoints", _keypoints, (("LABEL_CONVERTED", _LABEL, 1), ("YAML_KEY_IGNORED", YAML, 6))),
    # Images and their places.
    Defect(
        "a truncated image",
        lambda files: files.update({_IMAGE: files[_IMAGE][:2000]}),
        (("IMAGE_TRUNCATED", _IMAGE, None), ("IMAGES_SKIPPED", None, None)),
    ),
    Defect(
        "an empty image",
        _written(_IMAGE, b""),
        (("IMAGE_EMPTY", _IMAGE, None), ("IMAGES_SKIPPED", None, None)),
    ),
    Defect(
        "an image outside the splits",
        _written("images/0001.jpg", _jpeg(9002)),
        (("IMAGE_OUTSIDE_SPLITS", "images/0001.jpg", None),),
    ),
    Defect(
        "a file among the images",
        _written("images/train/notes.md", b"about\n"),
        (("FILE_NOT_AN_IMAGE", "images/train/notes.md", None),),
    ),
    Defect(
        "a copy",
        _copied("train/0001", "train/copy-of-0001"),
        (("DUPLICATE_IMAGE", "images/train/copy-of-0001.png", None),),
    ),
    Defect(
        "a copy across splits",
        _copied("train/0001", "val/copy-of-0001"),
        (("DUPLICATE_ACROSS_SPLITS", "images/val/copy-of-0001.png", None),),
    ),
    Defect(
        "a copy with another label",
        _copied_with_other_label,
        (
            ("DUPLICATE_IMAGE", "images/train/copy-of-0001.png", None),
            ("LABEL_UNLIKE_COPY", "labels/train/copy-of-0001.txt", None),
        ),
    ),
    Defect(
        "a near copy across splits",
        _reencoded("train/0001", "val/0001-copy"),
        (("NEAR_DUPLICATE_ACROSS_SPLITS", "images/val/0001-copy.jpg", None),),
    ),
    Defect(
        "an image that is stored turned",
        _turned,
        (
            ("IMAGE_ROTATED", "images/train/0003.jpg", None),
            ("LABEL_OF_TURNED_IMAGE", "labels/train/0003.txt", None),
        ),
    ),
    Defect("a blank image", _blank, (("IMAGE_BLANK", _IMAGE, None),)),
    # Classes and splits.
    Defect("a class without objects", _four_classes, (("CLASS_WITHOUT_BOXES", None, None),)),
    Defect("a class in val only", _class_only_in("val"), (("CLASS_NOT_TRAINED", None, None),)),
    Defect(
        "a class in train only",
        _class_only_in("train"),
        (
            ("CLASS_NOT_VALIDATED", None, None),
            ("CLASS_IMBALANCE", None, None),
        ),
    ),
    Defect(
        "an empty val",
        _removed(
            *(
                f"{kind}/val/{n:04d}.{end}"
                for n in range(6)
                for kind, end in (("images", "png"), ("labels", "txt"))
            )
        ),
        (("SPLIT_PATH_MISSING", YAML, 2),),
    ),
    Defect(
        "a small val",
        _removed(
            *(
                f"{kind}/val/{n:04d}.{end}"
                for n in range(1, 6)
                for kind, end in (("images", "png"), ("labels", "txt"))
            )
        ),
        (("SPLIT_SHARE_UNUSUAL", None, None),),
    ),
    Defect("no training images", lambda files: _moved_to_val(files), (("NO_TRAINING_IMAGES", None, None),)),
)


def _moved_to_val(files: Files) -> None:
    moved = {name.replace("/train/", "/val/t"): data for name, data in files.items() if "/train/" in name}
    for name in [name for name in files if "/train/" in name]:
        del files[name]
    files.update(moved)
    _yaml("train: images/train\n", "")(files)
