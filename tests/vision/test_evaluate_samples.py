from dataclasses import replace
from typing import Any

import pytest

from tuneyard.datasets import Report
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.vision.evaluate_samples import leak_warning, measured_samples, warned
from tuneyard.vision.splits import make_splits

CLASSES = ("class_0", "class_1", "class_2")


def config(split: str, **changes: Any) -> EvaluateConfig:
    settings: dict[str, Any] = {
        "source_job": "jobs/1",
        "dataset": "datasets/d",
        "split": split,
        "is_own_dataset": True,
    }
    return EvaluateConfig(**(settings | changes))


def measured(evaluation: EvaluateConfig, source: Any, run: Any, **changes: Any) -> Any:
    return measured_samples(evaluation, source, run=run, **({"classes": CLASSES, "manifest": {}} | changes))


def test_the_split_that_training_drew_is_drawn_again(draw, configure, start) -> None:
    files, source = draw(splits=()), configure(seed=7, validation_fraction=0.3)
    drawn = make_splits(files, None, source)
    found = measured(config("val"), source, start(files))
    assert found.samples.paths == drawn.validation.paths
    assert not set(found.samples.paths) & set(drawn.train.paths)
    assert "30%" in found.origin and "seed 7" in found.origin


def test_the_training_split_is_the_one_that_was_trained_on(draw, configure, start) -> None:
    files, source = draw(splits=()), configure(max_train_samples=6)
    found = measured(config("train"), source, start(files))
    assert found.samples == make_splits(files, None, source).train
    assert len(found.samples) == 6


def test_the_datasets_own_splits_are_used_where_it_has_them(draw, configure, start) -> None:
    files = draw(splits=("train", "val", "test"))
    for split in ("val", "test"):
        found = measured(config(split), configure(), start(files, root=files.dir.parent / split))
        assert {path.split("/")[0] for path in found.samples.paths} == {split}
        assert f"own {split} split" in found.origin


def test_a_validation_dataset_is_measured_as_in_training(draw, configure, start) -> None:
    files, other = draw(splits=()), draw("other", splits=(), per_class=4)
    run = start(files, validation_files=other)
    found = measured(config("val", validation_dataset="datasets/other"), configure(), run)
    assert len(found.samples) == 12 and found.samples.root == other.dir
    with pytest.raises(RecipeError, match="no longer there"):
        without = start(files, root=files.dir.parent / "without")
        measured(config("val", validation_dataset="datasets/other"), configure(), without)


def test_images_that_the_report_excludes_are_not_measured(draw, configure, start) -> None:
    files = draw(splits=("train", "test"))
    report = Report("image-folder", excluded=("test/class_0/000.png",))
    found = measured(config("test"), configure(), start(replace(files, report=report)))
    assert len(found.samples) == 29 and "test/class_0/000.png" not in found.samples.paths


def test_a_dataset_whose_content_changed_is_refused(draw, configure, start) -> None:
    with pytest.raises(RecipeError, match="other data") as caught:
        measured(config("val"), configure(), start(draw()), manifest={"dataset": {"sha256": "0" * 64}})
    assert caught.value.reason == "DATASET_INVALID" and caught.value.remedies


def test_another_datasets_classes_are_matched_by_name(draw, configure, start) -> None:
    other = config("train", is_own_dataset=False)
    found = measured(
        other, configure(), start(draw(splits=())), classes=("class_2", "new", "class_1", "class_0")
    )
    by_name = {"class_0": 3, "class_1": 2, "class_2": 0}
    assert [by_name[path.split("/")[0]] for path in found.samples.paths] == list(found.samples.labels)
    assert found.origin == "all of the dataset"


def test_classes_that_the_model_does_not_know_are_refused(draw, configure, start) -> None:
    other = config("train", is_own_dataset=False)
    with pytest.raises(RecipeError, match="class_1, class_2") as caught:
        measured(other, configure(), start(draw(splits=())), classes=("class_0",))
    assert caught.value.reason == "DATASET_INVALID"


def test_an_empty_split_is_refused(draw, configure, start) -> None:
    with pytest.raises(RecipeError, match="test split of datasets/d has no images"):
        measured(config("test"), configure(), start(draw(splits=("train",))))


def test_copies_across_splits_are_warned_of(draw) -> None:
    files = draw()
    assert leak_warning(files) == ""
    report = Report("image-folder", counts={"DUPLICATE_ACROSS_SPLITS": 3})
    assert "3 images" in leak_warning(replace(files, report=report))


@pytest.mark.parametrize(
    ("evaluation", "manifest", "warns"),
    [
        (config("val"), {"held_out": "another"}, True),
        (config("val"), {"held_out": "own"}, False),
        (config("val"), {}, False),
        (config("test"), {"held_out": "another"}, False),
        (config("val", is_own_dataset=False), {"held_out": "another"}, False),
    ],
)
def test_a_split_that_is_no_longer_the_held_out_one_is_told(
    draw, start, evaluation: EvaluateConfig, manifest: dict[str, str], warns: bool
) -> None:
    run = start(draw())
    text = warned(evaluation, manifest, run, digest="own", divided=False)
    assert [warning["code"] for warning in run.all_of("warning")] == ["moved_split"] * warns
    assert ("apart from what was trained on" in text) is warns


def test_a_share_that_is_divided_in_another_way_is_refused(draw, start) -> None:
    with pytest.raises(RecipeError, match="divides the dataset in another way") as caught:
        warned(config("val"), {"held_out": "another"}, start(draw()), digest="own", divided=True)
    assert caught.value.reason == "DATASET_INVALID" and caught.value.remedies


def test_only_a_share_of_the_training_data_is_divided(draw, configure, start) -> None:
    files, brings, other = draw(splits=()), draw("brings"), draw("other", splits=())
    found = [
        measured(
            config("val", **changes),
            configure(),
            start(each, root=files.dir.parent / f"run-{number}", **more),
        )
        for number, (each, changes, more) in enumerate(
            [
                (files, {}, {}),
                (brings, {}, {}),
                (files, {"validation_dataset": "datasets/other"}, {"validation_files": other}),
            ]
        )
    ]
    assert [each.divided for each in found] == [True, False, False]


def test_the_digest_of_a_split_tells_its_images_and_their_dataset(draw, configure) -> None:
    files = draw(splits=())
    digests = [
        make_splits(replace(files, sha256=sha256), None, configure(seed=seed)).validation.digest
        for sha256, seed in (("a", 1), ("a", 1), ("a", 2), ("b", 1))
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 3
