"""What can be done to a YOLO dataset's files: each function changes them, or returns a function that does."""

import io
from collections.abc import Callable

from PIL import ExifTags, Image

from tests.support.yolo_set import DRAWING, YAML, Files, drawn_jpeg

LABEL = "labels/train/0003.txt"
IMAGE = "images/train/0003.png"


def label_line(line: str, *, number: int = 2, of: int = 3) -> Callable[[Files], None]:
    """Replaces one line of a label."""

    def plant(files: Files) -> None:
        name = f"labels/train/{of:04d}.txt"
        lines = files[name].decode().splitlines()
        lines[number - 1] = line
        files[name] = ("\n".join(lines) + "\n").encode()

    return plant


def added_line(line: str, *, of: int = 3) -> Callable[[Files], None]:
    """Adds a fourth line to a label."""

    def plant(files: Files) -> None:
        files[f"labels/train/{of:04d}.txt"] += f"{line}\n".encode()

    return plant


def written(name: str, data: bytes) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        files[name] = data

    return plant


def yaml(old: str, new: str) -> Callable[[Files], None]:
    """Replaces a part of the data.yaml."""

    def plant(files: Files) -> None:
        assert old.encode() in files[YAML]
        files[YAML] = files[YAML].replace(old.encode(), new.encode())

    return plant


def removed(*names: str) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for name in names:
            del files[name]

    return plant


def copied(source: str, target: str) -> Callable[[Files], None]:
    """Copies an image and its label to another name."""

    def plant(files: Files) -> None:
        files[f"images/{target}.png"] = files[f"images/{source}.png"]
        files[f"labels/{target}.txt"] = files[f"labels/{source}.txt"]

    return plant


def copied_with_other_label(files: Files) -> None:
    copied("train/0001", "train/copy-of-0001")(files)
    files["labels/train/copy-of-0001.txt"] = files["labels/train/0002.txt"]


def swapped_first_box(files: Files) -> None:
    first = files["labels/train/0003.txt"].decode().splitlines()[0]
    files["labels/train/0003.txt"] += f"1{first[1:]}\n".encode()


def repeated_first_box(files: Files) -> None:
    first = files["labels/train/0003.txt"].decode().splitlines()[0]
    files["labels/train/0003.txt"] += f"{first}\n".encode()


def mark_added(files: Files) -> None:
    files["labels/train/0003.txt"] = b"\xef\xbb\xbf" + files["labels/train/0003.txt"]


def class_only_in(split: str) -> Callable[[Files], None]:
    """Adds a class to names that has objects in one split only."""

    def plant(files: Files) -> None:
        four_classes(files)
        files[f"labels/{split}/0003.txt"] += b"3 0.5 0.5 0.1 0.1\n"

    return plant


def four_classes(files: Files) -> None:
    yaml("nc: 3", "nc: 4")(files)
    yaml("triangle]", "triangle, star]")(files)


def listed(*extra: str) -> Callable[[Files], None]:
    """Lists the training images in train.txt, with more lines at its end."""

    def plant(files: Files) -> None:
        yaml("train: images/train", "train: train.txt")(files)
        images = [name for name in files if name.startswith("images/train/")]
        files["train.txt"] = "\n".join([*images, *extra, ""]).encode()

    return plant


def without_names(files: Files) -> None:
    files[YAML] = b"train: images/train\nval: images/val\n"


def without_labels(files: Files) -> None:
    for name in [name for name in files if name.startswith("labels/")]:
        del files[name]


def shared_label(files: Files) -> None:
    files["images/train/0003.jpg"] = drawn_jpeg(9001)


def reencoded(source: str, target: str, *, orientation: int = 1) -> Callable[[Files], None]:
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


def turned(files: Files) -> None:
    reencoded("train/0003", "train/0003", orientation=6)(files)
    del files[IMAGE]


def blank(files: Files) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", DRAWING.size, (90, 80, 70)).save(buffer, "PNG")
    files[IMAGE] = buffer.getvalue()


def keypoints(files: Files) -> None:
    files[YAML] += b"kpt_shape: [2, 2]\n"
    files["labels/train/0003.txt"] = b"0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.55\n"


def moved_to_val(files: Files) -> None:
    moved = {name.replace("/train/", "/val/t"): data for name, data in files.items() if "/train/" in name}
    for name in [name for name in files if "/train/" in name]:
        del files[name]
    files.update(moved)
    yaml("train: images/train\n", "")(files)
