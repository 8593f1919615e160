import shutil
from dataclasses import replace

import pytest

from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.splits import make_splits


def test_a_dataset_with_its_own_split_keeps_it(draw, configure) -> None:
    splits = make_splits(draw(splits=("train", "valid", "test")), None, configure())
    assert splits.classes == ("class_0", "class_1", "class_2")
    assert {path.split("/")[0] for path in splits.train.paths} == {"train"}
    assert {path.split("/")[0] for path in splits.validation.paths} == {"valid"}


def test_class_folders_alone_are_split_by_class(draw, configure) -> None:
    splits = make_splits(draw(splits=(), per_class=20), None, configure(validation_fraction=0.15))
    assert [splits.validation.labels.count(number) for number in range(3)] == [3, 3, 3]
    assert not set(splits.train.paths) & set(splits.validation.paths)
    assert len(splits.train) + len(splits.validation) == 60


def test_copies_of_an_image_stay_on_one_side(draw, configure) -> None:
    def copy_everything(root) -> None:
        for path in list(root.rglob("*.png")):
            shutil.copy(path, path.with_name(f"copy-{path.name}"))

    splits = make_splits(draw(splits=(), extra=copy_everything), None, configure())
    held_out = {path.replace("copy-", "") for path in splits.validation.paths}
    assert held_out and not held_out & {path.replace("copy-", "") for path in splits.train.paths}


def test_near_copies_that_the_check_found_stay_on_one_side(draw, configure) -> None:
    files = draw(splits=(), per_class=20)
    # As if every image and its successor were nearly alike.
    groups = tuple(position // 2 for position in range(60))
    files = replace(files, report=replace(files.report, groups=groups))
    splits = make_splits(files, None, configure(validation_fraction=0.2))
    group_of = dict(zip(sorted({*splits.train.paths, *splits.validation.paths}), groups, strict=True))
    held_out = {group_of[path] for path in splits.validation.paths}
    assert len(splits.validation) == 12
    assert not held_out & {group_of[path] for path in splits.train.paths}


def test_a_subset_takes_as_many_of_each_class(draw, configure) -> None:
    splits = make_splits(draw(), None, configure(max_train_samples=6))
    assert sorted(splits.train.labels) == [0, 0, 1, 1, 2, 2]
    assert len(splits.validation) == 30


def test_a_subset_smaller_than_the_classes_is_an_error_of_its_field(draw, configure) -> None:
    with pytest.raises(RecipeError, match="max_train_samples") as failed:
        make_splits(draw(), None, configure(max_train_samples=2))
    assert failed.value.reason == "INVALID_FIELD"


def test_a_validation_dataset_is_numbered_by_the_training_classes(draw, configure) -> None:
    splits = make_splits(draw("a"), draw("b", splits=(), per_class=2), configure())
    assert splits.validation.labels == (0, 0, 1, 1, 2, 2)
    assert splits.validation.dataset_sha256 != splits.train.dataset_sha256


def test_a_validation_dataset_of_other_classes_is_refused(draw, configure) -> None:
    with pytest.raises(RecipeError, match="class_3"):
        make_splits(draw("a"), draw("b", classes=4), configure())
