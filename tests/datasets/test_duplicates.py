"""Groups of equal and of nearly equal images, as a split needs them, and the findings about them."""

from collections.abc import Callable
from pathlib import Path

from tests.support.defects_images import picture
from tuneyard.datasets import Code, check, content_groups, image_folder, open_source, stratified_split
from tuneyard.datasets.duplicates import NearCopies, Placed, likeness_groups, note_near_duplicates, splittable
from tuneyard.datasets.report import FindingLog


def test_files_share_a_group_exactly_if_they_are_equal(write_folder: Callable[..., Path]) -> None:
    root = write_folder({"a/1.png": b"x", "a/2.png": b"y", "b/1.png": b"x", "b/2.png": b"z"})
    source = open_source(root)
    assert content_groups(source, source.names()) == [0, 1, 0, 2]


def test_copies_stay_on_one_side_of_a_split(write_folder: Callable[..., Path]) -> None:
    root = write_folder({f"a/{number}.png": bytes([number // 2]) for number in range(20)})
    source = open_source(root)
    groups = content_groups(source, source.names())
    train, val = stratified_split([0] * 20, groups, val_fraction=0.2, seed=3)
    assert len(val) == 4
    assert not {groups[i] for i in train} & {groups[i] for i in val}


def test_near_copies_join_the_groups_of_exact_ones() -> None:
    left_out = -1
    groups = likeness_groups([0, 0, 1, left_out, 2, 3], [(1, 4), (5, 3)])
    assert list(groups) == [0, 0, 1, 0, 2]


def test_a_label_needs_two_groups_of_its_own_to_be_split() -> None:
    labels, groups = [0, 0, 1, 1, 2, 0], [1, 2, 3, 3, 4, 4]
    assert splittable(labels, groups) == {0: True, 1: False, 2: False}


def test_a_chain_of_near_copies_is_told_beside_what_each_was_compared_with() -> None:
    log = FindingLog()
    placed = [
        Placed(name, content, split, "x")
        for content, (name, split) in enumerate((("a", "train"), ("b", "train"), ("c", "val")))
    ]
    note_near_duplicates(log, placed, [NearCopies("a", "b", mirrored=True), NearCopies("b", "c")])
    assert [(finding.code, finding.message) for finding in log.findings()] == [
        (Code.NEAR_DUPLICATE_ACROSS_SPLITS, "'c' looks almost like 'b': one is in val, one in train."),
        (Code.NEAR_DUPLICATE_IMAGE, "'b' looks almost like the mirror image of 'a'."),
    ]


def test_the_report_keeps_near_copies_in_one_group(tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / ("cat", "dog")[number % 2]
        folder.mkdir(exist_ok=True)
        picture(number).save(folder / f"{number:02}.png")
        picture(number).save(folder / f"{number:02}-again.jpg", quality=70)
    report = check(tmp_path, format="image-folder")
    samples = image_folder.index(open_source(tmp_path)).samples
    group_of = {sample.path: group for sample, group in zip(samples, report.groups, strict=True)}
    assert len(set(report.groups)) == 12
    assert all(group_of[path] == group_of[path.replace("-again.jpg", ".png")] for path in group_of)


def test_a_set_with_its_own_split_needs_no_groups(
    clean_files: dict[str, bytes], write_folder: Callable[..., Path]
) -> None:
    clean_files["train/cat/x.png"] = clean_files["train/cat/0.png"]
    assert check(write_folder(clean_files), format="image-folder").groups == ()
