"""Samples of a YOLO dataset: classes, boxes, upright sizes, what is left out, and the split."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.support.shapes import write_shapes
from tests.support.yolo_set import YAML, clean_files
from tuneyard.datasets import Report, check, yolo
from tuneyard.datasets.yolo import Box, YoloIndex, YoloSample

Write = Callable[..., Path]


def image(size: tuple[int, int], *, format: str = "JPEG", orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, format, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("layout", ["images/train", "train/images"])
def test_the_index_has_every_image_with_its_boxes(tmp_path: Path, layout: str) -> None:
    root = write_shapes(tmp_path / "shapes", train=6, val=3, test=2, layout=layout)
    found = yolo.index(root)
    assert found.root == root
    assert found.classes == ("circle", "square", "triangle")
    assert {split: len(samples) for split, samples in found.splits.items()} == {
        "train": 6,
        "val": 3,
        "test": 2,
    }
    first = found.splits["val"][1]
    assert (first.path.rpartition("/")[2], first.boxes[0].label, first.size) == (
        "val-00001.jpg",
        1,
        (320, 320),
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_sizes_are_those_of_the_upright_image(
    write_folder: Write, format: str, orientation: int | None
) -> None:
    data = image((60, 40), format=format, orientation=orientation)
    root = write_folder({f"images/1.{format.lower()}": data, "labels/1.txt": b"0 0.5 0.5 0.5 0.5\n"})
    size = (40, 60) if orientation in (6, 8) else (60, 40)
    assert [sample.size for sample in yolo.index(root).splits["train"]] == [size]


def test_images_and_labels_of_no_use_are_left_out(write_folder: Write) -> None:
    files = clean_files()
    files["images/train/0001.png"] = b"no image"
    files["labels/train/0002.txt"] = b"0 0.5\n"
    paths = {sample.path for sample in yolo.index(write_folder(files)).splits["train"]}
    assert len(paths) == 40
    assert paths.isdisjoint({"images/train/0001.png", "images/train/0002.png"})


def test_a_label_or_image_that_the_report_excludes_takes_the_sample_with_it(write_folder: Write) -> None:
    report = Report("yolo", excluded=("labels/train/0003.txt", "images/val/0001.png"))
    found = yolo.index(write_folder(clean_files()), report)
    assert "images/train/0003.png" not in {sample.path for sample in found.splits["train"]}
    assert {split: len(samples) for split, samples in found.splits.items()} == {"train": 41, "val": 5}


def test_the_index_is_what_the_report_counts(write_folder: Write) -> None:
    files = clean_files()
    files["labels/train/0003.txt"] = b"0 0.5\n"
    files["images/val/0001.png"] = files["images/val/0001.png"][:1500]
    root = write_folder(files)
    report = check(root, format="yolo")
    found = yolo.index(root, report)
    assert {split: len(samples) for split, samples in found.splits.items()} == {
        split: summary.samples for split, summary in report.splits.items()
    }


def test_classes_without_names_are_numbers(write_folder: Write) -> None:
    files = clean_files()
    del files[YAML]
    assert yolo.index(write_folder(files)).classes == ("0", "1", "2")


def test_polygons_and_rounding_come_out_as_boxes(write_folder: Write) -> None:
    label = b"0 0.25 0.25 0.75 0.25 0.5 0.5\n0 0.95 0.5 0.100001 0.5\n0 0.95 0.5 0.100001 0.5\n"
    root = write_folder({"images/1.png": image((64, 64), format="PNG"), "labels/1.txt": label})
    boxes = yolo.index(root).splits["train"][0].boxes
    assert boxes[0] == Box(0, 0.5, 0.375, 0.5, 0.25)
    assert len(boxes) == 2
    assert boxes[1].x + boxes[1].width / 2 == 1


def _index(presence: list[tuple[int, ...]]) -> YoloIndex:
    samples = tuple(
        YoloSample(
            f"images/{number:04d}.png", tuple(Box(label, 0.5, 0.5, 0.1, 0.1) for label in labels), (9, 9)
        )
        for number, labels in enumerate(presence)
    )
    return YoloIndex(Path("set"), ("a", "b", "c"), {"train": samples})


def shares(index: YoloIndex) -> list[float]:
    """The share of each class's images, and of the backgrounds, that is for validation."""

    def count(split: str, label: int) -> int:
        return sum(
            any(box.label == label for box in sample.boxes) if label >= 0 else not sample.boxes
            for sample in index.splits[split]
        )

    return [count("val", label) / (count("val", label) + count("train", label)) for label in (0, 1, 2, -1)]


def test_the_split_keeps_the_share_of_every_class_and_of_the_backgrounds() -> None:
    presence = [(0,), (0, 1), (0, 1, 2), (), (1,), (0,)] * 50
    divided = yolo.split(_index(presence), validation_share=0.2, seed=3)
    assert all(0.17 <= share <= 0.23 for share in shares(divided))
    assert len(divided.splits["train"]) + len(divided.splits["val"]) == 300
    assert divided == yolo.split(_index(presence), validation_share=0.2, seed=3)
    assert divided != yolo.split(_index(presence), validation_share=0.2, seed=4)


def test_a_rare_class_is_on_both_sides_and_a_single_image_is_trained_on() -> None:
    divided = yolo.split(_index([(0,)] * 40 + [(1,)] * 2 + [(2,), ()]), validation_share=0.1, seed=0)
    assert shares(divided)[1] == 0.5
    assert shares(divided)[2:] == [0.0, 0.0]


def test_the_images_of_a_group_stay_on_one_side() -> None:
    groups = {f"images/{number:04d}.png": number // 4 for number in range(200)}
    divided = yolo.split(_index([(0,), (1,)] * 100), validation_share=0.2, seed=1, groups=groups)
    sides = [{groups[sample.path] for sample in divided.splits[split]} for split in ("train", "val")]
    assert sides[0].isdisjoint(sides[1])
    assert 0.15 <= len(divided.splits["val"]) / 200 <= 0.25


def test_test_images_are_never_divided() -> None:
    index = _index([(0,)] * 20)
    samples = index.splits["train"]
    divided = yolo.split(
        replace(index, splits={"train": samples[:15], "test": samples[15:]}), validation_share=0.2, seed=0
    )
    assert divided.splits["test"] == samples[15:]
    assert len(divided.splits["val"]) == 3


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        yolo.split(_index([(0,)] * 20), validation_share=share, seed=0)
