"""YOLO datasets with one planted defect each, and what a check has to say: its code, its file and its line.

Nothing here knows how a check works.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.yolo_changes import (
    IMAGE,
    LABEL,
    added_line,
    blank,
    class_only_in,
    copied,
    copied_with_other_label,
    four_classes,
    keypoints,
    label_line,
    listed,
    mark_added,
    moved_to_val,
    reencoded,
    removed,
    repeated_first_box,
    shared_label,
    swapped_first_box,
    turned,
    without_labels,
    without_names,
    written,
    yaml,
)
from tests.support.yolo_set import YAML, Files, data_yaml, drawn_jpeg

Expected = tuple[str, str | None, int | None]


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a dataset, and the findings (code, path, line) that name it."""

    name: str
    plant: Callable[[Files], None]
    expected: tuple[Expected, ...]


def _skipped(*codes: str, line: int | None = 2) -> tuple[Expected, ...]:
    """Findings about a line that keeps its image from being used."""
    return (*((code, LABEL, line) for code in codes), ("LABELS_SKIPPED", None, None))


_BOX = "0.5 0.5 0.2 0.2"
_PYTHON_TAG = "!!python/object/apply:os.system ['true']"

DEFECTS: tuple[Defect, ...] = (
    # The data.yaml.
    Defect("yaml that does not parse", yaml("nc: 3", "nc: [3"), (("YAML_INVALID", YAML, 5),)),
    Defect("yaml without keys", written(YAML, b"- images/train\n"), (("YAML_INVALID", YAML, 1),)),
    Defect("yaml that is not text", written(YAML, b"names: [caf\xe9]\n"), (("YAML_INVALID", YAML, None),)),
    Defect("yaml nested deeply", yaml("nc: 3", "x: " + "[" * 3000), (("YAML_INVALID", YAML, None),)),
    Defect("path with a tag", yaml("\n\n", f"\npath: {_PYTHON_TAG}\n"), (("YAML_INVALID", YAML, 3),)),
    Defect(
        "names with a tag",
        yaml("[circle, square, triangle]", _PYTHON_TAG),
        (("YAML_NAMES_INVALID", YAML, 5),),
    ),
    Defect(
        "names with a gap",
        yaml("[circle, square, triangle]", "{0: circle, 1: square, 3: triangle}"),
        (("YAML_NAMES_INVALID", YAML, 5),),
    ),
    Defect("an empty name", yaml("square", "''"), (("YAML_NAMES_INVALID", YAML, 5),)),
    Defect("two classes of a name", yaml("square", "circle"), (("CLASS_NAME_REPEATED", YAML, 5),)),
    Defect("nc unlike names", yaml("nc: 3", "nc: 5"), (("YAML_NC_MISMATCH", YAML, 4),)),
    Defect("nc that is no number", yaml("nc: 3", "nc: three"), (("YAML_INVALID", YAML, 4),)),
    Defect("a key twice", yaml("\n\nnc: 3", "\nnc: 3\nnc: 3"), (("YAML_KEY_REPEATED", YAML, 4),)),
    Defect("an unknown key", yaml("\n\n", "\nlicense: MIT\n"), (("YAML_KEY_IGNORED", YAML, 3),)),
    Defect(
        "a download script",
        yaml("\n\n", "\ndownload: import os\n"),
        (("YAML_DOWNLOAD_IGNORED", YAML, 3),),
    ),
    Defect(
        "an absolute path",
        yaml("train: images", "train: /home/somebody/shapes/images"),
        (("YAML_PATH_REWRITTEN", YAML, 1),),
    ),
    Defect(
        "a path of Windows",
        yaml("val: images/val", r"val: C:\Users\somebody\shapes\images\val"),
        (("YAML_PATH_REWRITTEN", YAML, 2),),
    ),
    Defect("an absolute root", yaml("\n\n", "\npath: /data/shapes\n"), (("YAML_PATH_REWRITTEN", YAML, 3),)),
    Defect("a path that leads out", yaml("val: images", "val: ../images"), (("YAML_PATH_OUTSIDE", YAML, 2),)),
    Defect("a root that leads out", yaml("\n\n", "\npath: ../shapes\n"), (("YAML_PATH_OUTSIDE", YAML, 3),)),
    Defect(
        "a split path that does not exist",
        yaml("val: images/val", "val: pictures/held-out"),
        (
            ("SPLIT_PATH_MISSING", YAML, 2),
            *(("IMAGE_OUTSIDE_SPLITS", f"images/val/{number:04d}.png", None) for number in range(6)),
        ),
    ),
    Defect(
        "a test path that does not exist",
        yaml("\n\n", "\ntest: images/test\n"),
        (("SPLIT_TEST_PATH_MISSING", YAML, 3),),
    ),
    Defect(
        "validation on training images",
        yaml("val: images/val", "val: images/train"),
        (
            ("SPLIT_IMAGES_SHARED", "images/train/0000.png", None),
            ("SPLIT_SHARE_UNUSUAL", None, None),
            *(("IMAGE_OUTSIDE_SPLITS", f"images/val/{number:04d}.png", None) for number in range(6)),
        ),
    ),
    Defect(
        "two yaml files", written("dataset.yaml", data_yaml()), (("YAML_AMBIGUOUS", "dataset.yaml", None),)
    ),
    Defect(
        "a list that names a missing image",
        listed("images/train/9999.png"),
        (("SPLIT_LIST_ENTRY_MISSING", "train.txt", 43),),
    ),
    Defect(
        "a list with an absolute path",
        listed("/home/somebody/images/train/0003.png"),
        (("YAML_PATH_REWRITTEN", "train.txt", 43),),
    ),
    Defect("no names", without_names, (("CLASS_NAMES_MISSING", None, None),)),
    # Label files.
    Defect("a missing label", removed(LABEL), (("LABEL_MISSING", IMAGE, None),)),
    Defect("an empty label", written(LABEL, b"\n"), (("LABEL_EMPTY", LABEL, None),)),
    Defect(
        "a label without image",
        written("labels/train/lost.txt", f"0 {_BOX}\n".encode()),
        (("LABEL_WITHOUT_IMAGE", "labels/train/lost.txt", None),),
    ),
    Defect("two images with one label", shared_label, (("LABEL_SHARED", LABEL, None),)),
    Defect(
        "a label for another tool",
        written("labels/train/0003.xml", b"<annotation/>"),
        (("LABEL_FORMAT_UNSUPPORTED", "labels/train/0003.xml", None),),
    ),
    Defect("no label at all", without_labels, (("NO_BOXES", None, None),)),
    Defect("a byte order mark", mark_added, (("LABEL_BYTE_ORDER_MARK", LABEL, 1),)),
    Defect(
        "a label that is not text",
        written(LABEL, b"0 0.5 0.5 0.2 0.2\n\xff\xfe 0.5\n"),
        _skipped("LABEL_NOT_TEXT"),
    ),
    # Lines of labels.
    Defect("too few columns", label_line("1 0.5 0.5 0.2"), _skipped("LABEL_COLUMNS")),
    Defect("too many columns", label_line(f"1 {_BOX} 0.9"), _skipped("LABEL_COLUMNS")),
    Defect("a word", label_line("square 0.5 0.5 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("a decimal comma", label_line("1 0,5 0,5 0,2 0,2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("not a number", label_line("1 nan 0.5 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("infinity", label_line("1 0.5 inf 0.2 0.2"), _skipped("LABEL_NOT_A_NUMBER")),
    Defect("a class and a half", label_line(f"1.5 {_BOX}"), _skipped("LABEL_CLASS_NOT_INTEGER")),
    Defect("a class too high", label_line(f"3 {_BOX}"), _skipped("LABEL_CLASS_UNKNOWN")),
    Defect("a negative class", label_line(f"-1 {_BOX}"), _skipped("LABEL_CLASS_UNKNOWN")),
    Defect("a coordinate above 1", label_line("1 1.2 0.5 0.2 0.2"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("a coordinate below 0", label_line("1 0.5 -0.1 0.2 0.2"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("pixels", label_line("1 48 48 20 20"), _skipped("LABEL_OUT_OF_RANGE")),
    Defect("a width of zero", label_line("1 0.5 0.5 0 0.2"), _skipped("LABEL_SIZE_NOT_POSITIVE")),
    Defect("a negative height", label_line("1 0.5 0.5 0.2 -0.2"), _skipped("LABEL_SIZE_NOT_POSITIVE")),
    Defect("less than a pixel", added_line("1 0.5 0.5 0.005 0.2"), (("LABEL_BOX_TINY", LABEL, 4),)),
    Defect("a box over the edge", added_line("1 0.95 0.5 0.2 0.2"), (("LABEL_BOX_CUT", LABEL, 4),)),
    Defect("an object twice", repeated_first_box, (("LABEL_BOX_REPEATED", LABEL, 4),)),
    Defect("a box of two classes", swapped_first_box, (("LABEL_BOX_IN_CLASSES", LABEL, 4),)),
    Defect("a polygon", added_line("1 0.2 0.2 0.4 0.2 0.3 0.4"), (("LABEL_CONVERTED", LABEL, 4),)),
    Defect("keypoints", keypoints, (("LABEL_CONVERTED", LABEL, 1), ("YAML_KEY_IGNORED", YAML, 6))),
    # Images and their places.
    Defect(
        "a truncated image",
        lambda files: files.update({IMAGE: files[IMAGE][:2000]}),
        (("IMAGE_TRUNCATED", IMAGE, None), ("IMAGES_SKIPPED", None, None)),
    ),
    Defect(
        "an empty image",
        written(IMAGE, b""),
        (("IMAGE_EMPTY", IMAGE, None), ("IMAGES_SKIPPED", None, None)),
    ),
    Defect(
        "an image outside the splits",
        written("images/0001.jpg", drawn_jpeg(9002)),
        (("IMAGE_OUTSIDE_SPLITS", "images/0001.jpg", None),),
    ),
    Defect(
        "a file among the images",
        written("images/train/notes.md", b"about\n"),
        (("FILE_NOT_AN_IMAGE", "images/train/notes.md", None),),
    ),
    Defect(
        "a copy",
        copied("train/0001", "train/copy-of-0001"),
        (("DUPLICATE_IMAGE", "images/train/copy-of-0001.png", None),),
    ),
    Defect(
        "a copy across splits",
        copied("train/0001", "val/copy-of-0001"),
        (("DUPLICATE_ACROSS_SPLITS", "images/val/copy-of-0001.png", None),),
    ),
    Defect(
        "a copy with another label",
        copied_with_other_label,
        (
            ("DUPLICATE_IMAGE", "images/train/copy-of-0001.png", None),
            ("LABEL_UNLIKE_COPY", "labels/train/copy-of-0001.txt", None),
        ),
    ),
    Defect(
        "a near copy across splits",
        reencoded("train/0001", "val/0001-copy"),
        (("NEAR_DUPLICATE_ACROSS_SPLITS", "images/val/0001-copy.jpg", None),),
    ),
    Defect(
        "an image that is stored turned",
        turned,
        (
            ("IMAGE_ROTATED", "images/train/0003.jpg", None),
            ("LABEL_OF_TURNED_IMAGE", "labels/train/0003.txt", None),
        ),
    ),
    Defect("a blank image", blank, (("IMAGE_BLANK", IMAGE, None),)),
    # Classes and splits.
    Defect("a class without objects", four_classes, (("CLASS_WITHOUT_BOXES", None, None),)),
    Defect("a class in val only", class_only_in("val"), (("CLASS_NOT_TRAINED", None, None),)),
    Defect(
        "a class in train only",
        class_only_in("train"),
        (
            ("CLASS_NOT_VALIDATED", None, None),
            ("CLASS_IMBALANCE", None, None),
        ),
    ),
    Defect(
        "an empty val",
        removed(
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
        removed(
            *(
                f"{kind}/val/{n:04d}.{end}"
                for n in range(1, 6)
                for kind, end in (("images", "png"), ("labels", "txt"))
            )
        ),
        (("SPLIT_SHARE_UNUSUAL", None, None),),
    ),
    Defect("no training images", moved_to_val, (("NO_TRAINING_IMAGES", None, None),)),
)
