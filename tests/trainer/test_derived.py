from typing import Any

import pytest

from tuneyard.trainer.derived import evaluation, export_word, unknown_split, wrong_layout
from tuneyard.trainer.estimates import Request
from tuneyard.v1 import dataset_pb2, job_pb2


def asked(splits: dict[str, int], *, trained_on: str = "datasets/mine", **evaluate: Any) -> Request:
    request = Request()
    request.spec.evaluate.CopyFrom(job_pb2.EvaluateSpec(**evaluate))
    request.source_spec.training.dataset = trained_on
    for split, samples in splits.items():
        request.dataset.report.splits.add(split=split, samples=samples)
    return request


def test_formats_are_told_as_people_write_them() -> None:
    assert export_word(job_pb2.EXPORT_FORMAT_TORCHSCRIPT) == "torchscript"
    assert export_word(999) == "999"


@pytest.mark.parametrize(
    ("splits", "dataset", "split"),
    [
        ({"train": 8, "val": 2, "test": 4}, "", "test"),
        ({"train": 8, "val": 2}, "", "val"),
        ({"train": 8}, "", "val"),
        ({"train": 8}, "datasets/another", "train"),
        ({}, "datasets/another", "train"),
    ],
    ids=["a test split", "a val split", "the training's own val split", "no other", "not yet known"],
)
def test_the_best_held_out_split_is_measured(splits: dict[str, int], dataset: str, split: str) -> None:
    spec, present = evaluation(asked(splits, dataset=dataset))
    assert (spec.split, spec.dataset) == (split, dataset or "datasets/mine")
    assert present[split] == splits.get(split, 0)
    assert spec.compare_with_base and not list(unknown_split(spec, present))


def test_what_is_asked_for_stays() -> None:
    spec, _ = evaluation(asked({"train": 8, "test": 4}, split="train", compare_with_base=False))
    assert spec.split == "train" and not spec.compare_with_base


def test_a_split_that_is_not_there_is_told_with_those_that_are() -> None:
    (told,) = unknown_split(*evaluation(asked({"train": 8, "val": 2}, split="test")))
    assert told.field == "spec.split"
    assert told.description == "datasets/mine has no split 'test'; it has val, train."


def test_a_dataset_is_measured_on_only_in_the_training_s_format() -> None:
    request, wanted = asked({}), dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES
    assert not list(wrong_layout(request, wanted=wanted))
    request.dataset.format = dataset_pb2.DATASET_FORMAT_JSONL
    (told,) = wrong_layout(request, wanted=wanted, measured="The weights are")
    assert told.description == "The weights are measured on datasets of format captioned-images, not jsonl."
