"""Planted defects of YOLO sets: each is found at its file and line, and clean sets have nothing to find."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.defects_yolo import DEFECTS, Defect
from tests.support.yolo_set import YAML, Files, clean_files, data_yaml, renamed
from tuneyard.datasets import Code, Exclusion, Report, Severity, check, open_source, prepare, yolo, yolo_check

Write = Callable[..., Path]

# So small a set has few images of each class; that is no planted defect.
_OF_SIZE = {"CLASS_SMALL"}


def found(report: Report) -> Counter[tuple[str, str | None, int | None]]:
    return Counter(
        (finding.code.value, finding.path, finding.line)
        for finding in report.findings
        if finding.code not in _OF_SIZE
    )


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found_at_its_place(defect: Defect, write_folder: Write) -> None:
    files = clean_files()
    defect.plant(files)
    report = check(write_folder(files), format="yolo")
    assert found(report) == Counter(defect.expected)
    assert all(finding.message and finding.remedy for finding in report.findings)


def without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def split_first(files: Files) -> Files:
    """`train/images` and `train/labels`, as Roboflow exports it."""
    moved = renamed(
        files,
        ("images/train", "train/images"),
        ("labels/train", "train/labels"),
        ("images/val", "valid/images"),
        ("labels/val", "valid/labels"),
    )
    return {**moved, YAML: data_yaml("train/images", "valid/images")}


def flat(files: Files) -> Files:
    """`images` and `labels`, to be split."""
    kept = {name: data for name, data in files.items() if "/val/" not in name}
    moved = renamed(kept, ("/train/", "/"))
    return {**moved, YAML: b"train: images\nnames: {0: circle, 1: square, 2: triangle}\n"}


def listed(files: Files) -> Files:
    """Splits as lists of images."""
    lists = {
        f"{split}.txt": "\r\n".join(
            f"./{name}" for name in files if name.startswith(f"images/{split}/")
        ).encode()
        for split in ("train", "val")
    }
    return {**files, **lists, YAML: data_yaml("train.txt", "val.txt")}


def junk(files: Files) -> Files:
    return {
        **files,
        "__MACOSX/images/train/._0001.png": b"\x00",
        "images/.DS_Store": b"\x00",
        "labels/train/._0001.txt": b"\x00",
    }


def of_windows(files: Files) -> Files:
    return {
        name: data.replace(b"\n", b"\r\n") if name.endswith((".txt", ".yaml")) else data
        for name, data in files.items()
    }


def class_list(files: Files) -> Files:
    return {**without(files, YAML), "classes.txt": b"circle\nsquare\ntriangle\n"}


CLEAN: dict[str, Callable[[Files], Files]] = {
    "images/train": lambda files: files,
    "train/images": split_first,
    "flat": flat,
    "lists": listed,
    "junk": junk,
    "windows": of_windows,
    "classes.txt": class_list,
    "in a folder": lambda files: {f"shapes/{name}": data for name, data in files.items()},
    "beside a readme": lambda files: {
        "README.md": b"read",
        **{f"shapes/{name}": data for name, data in files.items()},
    },
    "any yaml": lambda files: {**without(files, YAML), "shapes.yml": files[YAML]},
    "path": lambda files: {**files, YAML: b"path: shapes\n" + files[YAML]},
    "empty test": lambda files: {**files, YAML: b"test:  # optional\n" + files[YAML]},
    "labels beside images": lambda files: {
        **renamed(without(files, YAML), ("images/", ""), ("labels/", "")),
        "obj.names": b"circle\nsquare\ntriangle\n",
    },
    "classes in labels": lambda files: {
        **without(files, YAML),
        "labels/classes.txt": b"circle\nsquare\ntriangle\n",
    },
}


@pytest.fixture(scope="module")
def large() -> Files:
    """Enough images of each class, and 15 % for validation."""
    return clean_files(train=100, val=18)


@pytest.mark.parametrize("layout", CLEAN)
def test_a_clean_set_of_any_layout_has_nothing_to_find(layout: str, large: Files, write_zip: Write) -> None:
    report = check(write_zip(CLEAN[layout](large)), format="yolo")
    assert found(report) == Counter()
    assert report.counts == {}
    assert report.classes == ("circle", "square", "triangle")
    assert report.splits["train"].samples == 100
    assert ("val" in report.splits) == (layout != "flat")
    assert report.files["boxes"] == 3 * report.samples


def test_the_folder_and_the_zip_give_the_same_report(write_folder: Write, write_zip: Write) -> None:
    files = clean_files()
    for defect in DEFECTS[10:40:5]:
        defect.plant(files)
    report = check(write_folder(files), format="yolo")
    assert report.findings
    assert check(write_zip(files), format="yolo") == report


def test_every_yolo_code_of_a_label_or_yaml_is_planted() -> None:
    planted = {code for defect in DEFECTS for code, _, _ in defect.expected}
    rare = {"LABELS_BROKEN", "LABEL_TOO_LARGE"}
    codes = {code.value for code in Code if code.startswith(("LABEL_", "LABELS_S", "YAML_"))}
    assert codes - planted <= rare
    assert len(DEFECTS) >= 40


def test_few_broken_labels_are_skipped_with_their_images(write_folder: Write) -> None:
    files = clean_files()
    files["labels/train/0003.txt"] = b"0 0.5 0.5\n"
    report = check(write_folder(files), format="yolo")
    assert report.excluded == ("images/train/0003.png",)
    assert report.samples == 47
    assert not report.has_errors


def test_many_broken_labels_are_an_error(write_folder: Write) -> None:
    files = clean_files()
    for number in range(3):
        files[f"labels/train/{number:04d}.txt"] = b"0 0.5 0.5\n"
    report = check(write_folder(files), format="yolo")
    assert [finding.code for finding in report.findings if finding.severity is Severity.ERROR] == [
        "LABELS_BROKEN"
    ]


def test_backgrounds_are_counted_apart(write_folder: Write) -> None:
    files = clean_files()
    files["labels/train/0001.txt"] = b""
    del files["labels/train/0002.txt"]
    report = check(write_folder(files), format="yolo")
    assert report.files["backgrounds"] == 2
    assert report.samples == 48
    assert report.splits["train"].per_class == {"circle": 40, "square": 40, "triangle": 40}


def test_an_archive_that_is_no_dataset_at_all_is_an_error(write_zip: Write) -> None:
    report = check(write_zip({"notes.txt": b"hello"}), format="yolo")
    assert "NO_TRAINING_IMAGES" in report.counts
    assert report.has_errors


def test_the_path_of_a_script_is_never_run(write_folder: Write, tmp_path: Path) -> None:
    files = clean_files()
    files[YAML] += (
        f"download: |\n  import pathlib\n  pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n".encode()
    )
    check(write_folder(files), format="yolo")
    assert not (tmp_path / "ran").exists()


def test_aliases_in_the_yaml_are_not_expanded(write_folder: Write) -> None:
    files = clean_files()
    bomb = b"a0: &a0 [x, x]\n" + b"".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n".encode() for n in range(1, 30)
    )
    files[YAML] += bomb
    report = check(write_folder(files), format="yolo")
    assert set(found(report)) == {("YAML_KEY_IGNORED", YAML, 6 + n) for n in range(30)}


def test_leaving_out_a_label_leaves_out_its_image(write_folder: Write) -> None:
    source = open_source(write_folder(clean_files()))
    both = {"images/train/0003.png", "labels/train/0003.txt"}
    assert yolo_check.companions(source, ["labels/train/0003.txt"]) == both
    assert yolo_check.companions(source, ["images/train/0003.png"]) == both
    assert yolo_check.companions(source, []) == frozenset()


def test_what_describes_the_dataset_is_never_left_out(write_folder: Write) -> None:
    source = open_source(write_folder(listed(clean_files())))
    assert yolo_check.companions(source, [YAML, "train.txt"]) == frozenset()


def test_a_label_that_another_image_uses_stays(write_folder: Write) -> None:
    files = clean_files()
    files["images/train/0003.jpg"] = files["images/train/0003.png"]
    source = open_source(write_folder(files))
    assert yolo_check.companions(source, ["images/train/0003.jpg"]) == {"images/train/0003.jpg"}


def test_without_a_val_split_copies_are_grouped(write_folder: Write) -> None:
    files = flat(clean_files())
    files["images/0002.png"] = files["images/0001.png"]
    files["labels/0002.txt"] = files["labels/0001.txt"]
    root = write_folder(files)
    report = check(root, format="yolo")
    assert len(report.groups) == report.samples == 42
    assert report.groups[1] == report.groups[2]
    assert len(set(report.groups)) == 41
    groups = yolo.likeness(yolo.index(root, report), report)
    assert groups["images/0001.png"] == groups["images/0002.png"] != groups["images/0003.png"]


def test_one_image_in_many_copies_cannot_be_split(write_folder: Write) -> None:
    files = flat(clean_files())
    for number in range(42):
        files[f"images/{number:04d}.png"] = files["images/0000.png"]
    report = check(write_folder(files), format="yolo")
    assert "IMAGES_NOT_SPLITTABLE" in report.counts
    assert report.has_errors


def test_codes_never_point_at_the_yaml_as_a_file_to_leave_out(write_folder: Write) -> None:
    files = clean_files()
    files[YAML] += b"license: MIT\n"
    del files["labels/train/0003.txt"]
    paths = check(write_folder(files), format="yolo").paths
    assert {code: list(found) for code, found in paths.items() if found} == {
        Code.LABEL_MISSING: ["images/train/0003.png"]
    }


@pytest.mark.parametrize(
    "exclusion",
    [Exclusion(codes=[Code.LABEL_CLASS_UNKNOWN]), Exclusion(paths=["labels/train/0003.txt"])],
    ids=["by code", "by name"],
)
def test_a_version_without_its_defects_has_none(write_zip: Write, exclusion: Exclusion) -> None:
    files = clean_files()
    files["labels/train/0003.txt"] = b"7 0.5 0.5 0.1 0.1\n"
    report = check(write_zip(files), format="yolo", exclusion=exclusion)
    assert found(report) == Counter()
    assert report.excluded == ("images/train/0003.png", "labels/train/0003.txt")
    assert report.samples == 47


def test_what_is_prepared_from_a_zip_is_what_was_checked(write_zip: Write, tmp_path: Path) -> None:
    files = clean_files()
    files["images/train/0003.png"] = b"no image"
    archive = write_zip(files, prefix="shapes/")
    report = check(archive, format="yolo")
    prepare(archive, tmp_path / "prepared", format="yolo", report=report)
    index = yolo.index(tmp_path / "prepared", report)
    assert {split: len(samples) for split, samples in index.splits.items()} == {"train": 41, "val": 6}


def test_the_page_about_yolo_datasets_names_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "yolo-datasets.md").read_text()
    codes = {code.value for code in Code if code.startswith(("YAML_", "LABEL_", "LABELS_"))}
    codes -= {"LABELS_CONTRADICT"}
    assert {code for code in codes if f"`{code}`" not in page} == set()
