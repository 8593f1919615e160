"""Planted defects: each is found at its file with its code, and a clean set has nothing to find."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tuneyard.datasets import Code, Report, Severity, check, image_folder, open_source

Files = dict[str, bytes]
Draw = Callable[..., bytes]
Inspect = Callable[[Mapping[str, bytes]], Report]


@pytest.fixture
def inspect(write_zip: Callable[..., Path]) -> Inspect:
    """Inspects files as a ZIP file below a top folder."""
    return lambda files: check(write_zip(files, prefix="set/"), format="image-folder")


def found(report: Report) -> set[tuple[str, str | None]]:
    return {(finding.code.value, finding.path) for finding in report.findings}


def flat(clean_files: Files) -> Files:
    """The same images with classes at the root, to be split."""
    return {
        name.removeprefix("train/"): data for name, data in clean_files.items() if name.startswith("train/")
    }


def test_a_clean_set_has_nothing_to_find(clean_files: Files, inspect: Inspect) -> None:
    report = inspect(clean_files)
    assert report.findings == ()
    assert report.files == {"total": 240, "images": 240, "broken": 0, "duplicates": 0, "ignored": 0}
    assert (report.counts, report.samples) == ({}, 240)
    assert (report.median_width, report.median_height) == (8, 8)
    assert report.sides == {8: 240}
    assert report.classes == ("cat", "dog")
    assert report.splits["train"].per_class == {"cat": 100, "dog": 100}
    assert report.splits["val"].samples == 40


def test_classes_at_the_root_are_a_clean_set_too(clean_files: Files, inspect: Inspect) -> None:
    report = inspect(flat(clean_files))
    assert report.findings == ()
    assert set(report.splits) == {"train"}


def test_the_folder_and_the_zip_give_the_same_report(
    clean_files: Files, write_folder: Callable[..., Path], inspect: Inspect
) -> None:
    clean_files["train/cat/broken.png"] = b"no image"
    assert check(write_folder(clean_files), format="image-folder") == inspect(clean_files)


@pytest.mark.parametrize(
    ("folder", "split"), [("valid", "val"), ("validation", "val"), ("Val", "val"), ("test", "test")]
)
def test_the_usual_names_of_splits_are_understood(
    clean_files: Files, inspect: Inspect, folder: str, split: str
) -> None:
    report = inspect({name.replace("val/", f"{folder}/"): data for name, data in clean_files.items()})
    assert report.findings == ()
    assert report.splits[split].samples == 40


BROKEN: dict[str, tuple[Callable[[Draw], bytes], Code]] = {
    "empty.png": (lambda draw: b"", Code.IMAGE_EMPTY),
    "text.png": (lambda draw: b"this is text", Code.IMAGE_UNREADABLE),
    "cut.png": (lambda draw: draw(9001, size=(64, 64))[:2000], Code.IMAGE_TRUNCATED),
    "cut.jpg": (lambda draw: draw(9002, size=(64, 64), format="JPEG")[:-500], Code.IMAGE_TRUNCATED),
    "end.jpg": (lambda draw: draw(9003, size=(64, 64), format="JPEG")[:-2], Code.IMAGE_TRUNCATED),
    "cut.bmp": (lambda draw: draw(9004, size=(64, 64), format="BMP")[:-100], Code.IMAGE_TRUNCATED),
    "cut.webp": (lambda draw: draw(9005, size=(64, 64), format="WEBP")[:-500], Code.IMAGE_UNREADABLE),
    "header.png": (lambda draw: draw(9006)[:20], Code.IMAGE_TRUNCATED),
    # Pillow could read it, with a decoder that nobody asked for.
    "photo.png": (lambda draw: draw(9007, format="PPM"), Code.IMAGE_UNREADABLE),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named_and_left_out(
    clean_files: Files, inspect: Inspect, draw: Draw, name: str
) -> None:
    make, code = BROKEN[name]
    clean_files[f"train/cat/{name}"] = make(draw)
    report = inspect(clean_files)
    assert found(report) == {(code.value, f"train/cat/{name}"), ("IMAGES_SKIPPED", None)}
    assert not report.has_errors
    assert report.excluded == (f"train/cat/{name}",)
    assert report.splits["train"].per_class["cat"] == 100


def test_a_flipped_byte_in_a_png_is_found(clean_files: Files, inspect: Inspect) -> None:
    data = bytearray(clean_files["train/cat/5.png"])
    data[len(data) // 2] ^= 0xFF
    clean_files["train/cat/5.png"] = bytes(data)
    assert inspect(clean_files).excluded == ("train/cat/5.png",)


def test_too_many_broken_images_are_an_error(clean_files: Files, inspect: Inspect) -> None:
    for number in range(13):
        clean_files[f"train/cat/{number}.png"] = b""
    report = inspect(clean_files)
    verdict = report.findings[0]
    assert (verdict.code, verdict.severity) == (Code.IMAGES_BROKEN, Severity.ERROR)
    assert "13 of 240" in verdict.message
    assert len(report.excluded) == report.counts["IMAGE_EMPTY"] == 13


def test_a_decompression_bomb_is_not_decoded(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    header = bytearray(draw(1, format="BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    clean_files["train/cat/bomb.bmp"] = bytes(header)
    assert ("IMAGE_TOO_LARGE", "train/cat/bomb.bmp") in found(inspect(clean_files))


REMARKABLE: dict[str, tuple[tuple[int, int], str, Code]] = {
    "photo.png": ((8, 8), "JPEG", Code.IMAGE_WRONG_EXTENSION),
    "photo.dat": ((8, 8), "PNG", Code.IMAGE_WRONG_EXTENSION),
    "dot.png": ((1, 1), "PNG", Code.IMAGE_VERY_SMALL),
    "line.png": ((100, 4), "PNG", Code.IMAGE_EXTREME_SHAPE),
    "wide.bmp": ((8193, 410), "BMP", Code.IMAGE_VERY_LARGE),
}


@pytest.mark.parametrize("name", REMARKABLE)
def test_a_remarkable_image_is_named(clean_files: Files, inspect: Inspect, draw: Draw, name: str) -> None:
    size, format, code = REMARKABLE[name]
    clean_files[f"train/dog/{name}"] = draw(9001, size=size, format=format)
    report = inspect(clean_files)
    assert found(report) == {(code.value, f"train/dog/{name}")}
    assert report.excluded == ()


def test_every_format_that_is_read_is_clean_under_its_own_name(
    clean_files: Files, inspect: Inspect, draw: Draw
) -> None:
    for seed, (extension, format) in enumerate(
        {
            "jpg": "JPEG",
            "JPEG": "JPEG",
            "webp": "WEBP",
            "bmp": "BMP",
            "gif": "GIF",
            "tif": "TIFF",
            "PNG": "PNG",
        }.items()
    ):
        clean_files[f"train/cat/as.{extension}"] = draw(9000 + seed, format=format)
    report = inspect(clean_files)
    assert report.findings == ()
    assert report.splits["train"].per_class["cat"] == 107


def test_a_file_that_is_no_image_is_mentioned(clean_files: Files, inspect: Inspect) -> None:
    clean_files |= {"train/cat/notes.txt": b"notes", "README.md": b"about"}
    report = inspect(clean_files)
    assert found(report) == {("FILE_NOT_AN_IMAGE", "train/cat/notes.txt")}
    assert report.findings[0].severity is Severity.INFO


def test_images_in_no_class_are_named(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    strays = ("train/stray.png", "stray.png", "extra/stray.png")
    clean_files |= {name: draw(9000 + number) for number, name in enumerate(strays)}
    assert found(inspect(clean_files)) == {("IMAGE_OUTSIDE_CLASS", name) for name in strays}


def test_copies_are_named_by_what_is_wrong_with_their_place(clean_files: Files, inspect: Inspect) -> None:
    original = clean_files["train/cat/0.png"]
    clean_files |= {"train/cat/x.png": original, "val/cat/x.png": original, "train/dog/x.png": original}
    report = inspect(clean_files)
    assert found(report) == {
        ("DUPLICATE_IMAGE", "train/cat/x.png"),
        ("DUPLICATE_ACROSS_SPLITS", "val/cat/x.png"),
        ("DUPLICATE_IN_CLASSES", "train/dog/x.png"),
    }
    assert all("'train/cat/0.png'" in finding.message for finding in report.findings)
    assert report.files["duplicates"] == 3


def test_of_two_copies_the_one_in_test_is_named(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    clean_files |= {"test/cat/x.png": clean_files["train/cat/0.png"], "test/dog/x.png": draw(9000)}
    assert found(inspect(clean_files)) == {("DUPLICATE_ACROSS_SPLITS", "test/cat/x.png")}


def test_a_class_without_images_is_an_error(clean_files: Files, inspect: Inspect) -> None:
    report = inspect(clean_files | {"train/fox/": b"", "val/fox/": b""})
    assert found(report) == {("CLASS_EMPTY", "train/fox"), ("CLASS_EMPTY", "val/fox")}
    assert report.has_errors


def test_a_class_whose_images_are_all_broken_is_an_error(
    clean_files: Files, inspect: Inspect, draw: Draw
) -> None:
    clean_files |= {"train/fox/1.png": b"", "val/fox/1.png": draw(9000)}
    assert ("CLASS_EMPTY", "train/fox") in found(inspect(clean_files))


def test_classes_that_differ_between_train_and_val_are_named(
    clean_files: Files, inspect: Inspect, draw: Draw
) -> None:
    clean_files |= {f"train/fox/{number}.png": draw(9000 + number) for number in range(100)}
    clean_files |= {"val/emu/1.png": draw(9500)}
    report = inspect(clean_files)
    errors = {(f.code.value, f.path) for f in report.findings if f.severity is Severity.ERROR}
    assert errors == {("CLASS_MISSING_IN_SPLIT", "train/fox"), ("CLASS_NOT_IN_TRAIN", "val/emu")}
    assert report.classes == ("cat", "dog", "fox")


def test_a_class_missing_in_test_is_a_warning(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    report = inspect(clean_files | {"test/cat/1.png": draw(9000)})
    assert found(report) == {("CLASS_MISSING_IN_TEST", "train/dog")}
    assert not report.has_errors


def test_one_class_only_is_an_error(clean_files: Files, inspect: Inspect) -> None:
    cats = {name: data for name, data in clean_files.items() if "/cat/" in name}
    assert found(inspect(cats)) == {("CLASS_SINGLE", None)}
    assert ("CLASS_SINGLE", None) in found(inspect(flat(cats)))


def test_small_and_unequal_classes_are_warned_of(clean_files: Files, inspect: Inspect) -> None:
    files = {
        n: d
        for n, d in clean_files.items()
        if not (n.startswith("train/dog/") and len(n) > len("train/dog/0.png"))
    }
    report = inspect(files)
    assert {code for code, _ in found(report)} == {"CLASS_SMALL", "CLASS_IMBALANCE", "SPLIT_SHARE_UNUSUAL"}
    assert any("'dog' has 10 training samples" in finding.message for finding in report.findings)
    assert not report.has_errors


@pytest.mark.parametrize("kept", [5, 10, 11, 20])
def test_an_unusual_share_for_validation_is_warned_of(
    clean_files: Files, inspect: Inspect, kept: int
) -> None:
    files = {n: d for n, d in clean_files.items() if n.startswith("train/") or int(Path(n).stem) < kept}
    share = 2 * kept / (200 + 2 * kept)
    unusual = ("SPLIT_SHARE_UNUSUAL", None) in found(inspect(files))
    assert unusual == (share < 0.095)


def test_a_class_that_cannot_be_split_is_an_error(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    copy = draw(9000)
    report = inspect(flat(clean_files) | {"fox/1.png": copy, "fox/2.png": copy})
    assert ("CLASS_NOT_SPLITTABLE", "fox") in found(report)


def test_a_set_without_training_images_is_an_error(clean_files: Files, inspect: Inspect) -> None:
    assert ("SPLIT_TRAIN_MISSING", None) in found(
        inspect({n: d for n, d in clean_files.items() if "val/" in n})
    )
    assert found(inspect({"notes.txt": b"notes"})) == {("NO_IMAGES", None)}
    assert found(inspect({})) == {("NO_IMAGES", None)}


def test_an_empty_validation_split_is_an_error(clean_files: Files, inspect: Inspect) -> None:
    train = {name: data for name, data in clean_files.items() if name.startswith("train/")}
    assert found(inspect(train | {"val/": b""})) == {("SPLIT_EMPTY", "val")}


def test_two_folders_for_one_split_are_merged_aloud(clean_files: Files, inspect: Inspect, draw: Draw) -> None:
    report = inspect(clean_files | {"valid/cat/1.png": draw(9000)})
    assert found(report) == {("SPLIT_FOLDERS_MERGED", "valid")}
    assert report.splits["val"].per_class["cat"] == 21


def test_links_are_reported(clean_files: Files, write_folder: Callable[..., Path]) -> None:
    root = write_folder(clean_files)
    (root / "train" / "cat" / "link.png").symlink_to(root / "train" / "dog" / "0.png")
    assert found(check(root, format="image-folder")) == {("LINK_IGNORED", "train/cat/link.png")}


def test_the_index_numbers_classes_and_finds_images_in_subfolders(write_folder: Callable[..., Path]) -> None:
    root = write_folder(
        {"train/b/deep/1.png": b"", "train/a/2.png": b"", "val/b/3.PNG": b"", "test/a/4.png": b""}
    )
    with open_source(root) as source:
        index = image_folder.index(source)
    assert index.classes == ("a", "b")
    assert {(sample.path, sample.class_index, sample.split) for sample in index.samples} == {
        ("train/b/deep/1.png", 1, "train"),
        ("train/a/2.png", 0, "train"),
        ("val/b/3.PNG", 1, "val"),
        ("test/a/4.png", 0, "test"),
    }
    assert [sample.path for sample in index.without({"train/a/2.png"}).of("train")] == ["train/b/deep/1.png"]


def test_a_test_folder_beside_classes_is_a_split_only_if_it_has_their_folders(
    write_folder: Callable[..., Path],
) -> None:
    held_out = write_folder({"cat/1.png": b"", "dog/2.png": b"", "test/cat/3.png": b""}, name="one")
    a_class = write_folder({"exam/1.png": b"", "test/2.png": b""}, name="two")
    with open_source(held_out) as one, open_source(a_class) as two:
        assert image_folder.index(one).of("test")[0].path == "test/cat/3.png"
        assert image_folder.index(two).classes == ("exam", "test")
