"""The rules that the protos declare, checked by reflection."""

import math
import time
from typing import Any

import pytest

from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.validation import check, usual_range_warnings, validate
from tuneyard.v1 import dataset_pb2, dataset_service_pb2, job_pb2, training_pb2, training_service_pb2

Spec = training_pb2.TrainingSpec
Hyper = training_pb2.Hyperparameters


def _train(**fields: Any) -> training_service_pb2.TrainRequest:
    spec = Spec(dataset="datasets/digits", base_model="resnet50", **fields)
    return training_service_pb2.TrainRequest(spec=spec)


def _fields(message: Any, prefix: str = "") -> list[str]:
    return [violation.field for violation in validate(message, prefix=prefix)]


def test_a_request_within_its_rules_has_no_violations() -> None:
    assert validate(_train(hyperparameters=Hyper(epochs=3, learning_rate=1e-3, warmup_ratio=0))) == []


@pytest.mark.parametrize(
    ("hyperparameters", "field"),
    [
        (Hyper(learning_rate=0), "learning_rate"),
        (Hyper(learning_rate=-1e-3), "learning_rate"),
        (Hyper(learning_rate=10.5), "learning_rate"),
        (Hyper(learning_rate=math.nan), "learning_rate"),
        (Hyper(max_grad_norm=math.inf), "max_grad_norm"),
        (Hyper(epochs=0), "epochs"),
        (Hyper(batch_size=65537), "batch_size"),
        (Hyper(momentum=1), "momentum"),
        (Hyper(optimizer=99), "optimizer"),  # type: ignore[arg-type]
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_full_path(hyperparameters: Hyper, field: str) -> None:
    assert _fields(_train(hyperparameters=hyperparameters)) == [f"spec.hyperparameters.{field}"]


def test_the_description_states_the_bounds_and_the_value() -> None:
    (violation,) = validate(_train(hyperparameters=Hyper(learning_rate=-1)))
    assert violation.description == "must be greater than 0 and at most 10; it is -1"


def test_every_violation_is_reported_at_once() -> None:
    request = training_service_pb2.TrainRequest(
        spec=Spec(hyperparameters=Hyper(epochs=-1), seed=-5), priority=5000
    )
    expected = ["spec.dataset", "spec.base_model", "spec.hyperparameters.epochs", "spec.seed", "priority"]
    assert sorted(_fields(request)) == sorted(expected)


def test_an_unset_optional_field_is_not_checked() -> None:
    assert validate(Hyper()) == []


def test_a_field_without_presence_is_checked_at_its_default() -> None:
    request = dataset_service_pb2.CreateDatasetRequest(format=dataset_pb2.DATASET_FORMAT_JSONL)
    assert _fields(request) == ["size_bytes"]


def test_a_required_message_string_enum_and_list_must_be_given() -> None:
    assert _fields(training_service_pb2.TrainRequest()) == ["spec"]
    assert _fields(dataset_service_pb2.CreateDatasetRequest(size_bytes=1)) == ["format"]
    assert _fields(dataset_service_pb2.SignDatasetUploadRequest()) == ["name", "part_numbers"]


def test_strings_are_checked_for_length_and_pattern() -> None:
    create = dataset_service_pb2.CreateDatasetRequest(size_bytes=1, format=dataset_pb2.DATASET_FORMAT_YOLO)
    create.sha256 = "ABC"
    create.display_name = "x" * 201
    create.dataset_id = "../etc"
    assert sorted(_fields(create)) == ["dataset_id", "display_name", "sha256"]


def test_no_text_may_contain_nul() -> None:
    request = _train(base_model_revision="a\0")
    request.labels["k\0"] = "v"
    assert _fields(request) == ["spec.base_model_revision", "labels"]
    request.labels.clear()
    request.labels["k"] = "\0"
    assert _fields(request)[1] == 'labels["k"]'


def test_lists_and_maps_are_checked_for_their_size() -> None:
    request = _train(language_model=training_pb2.LanguageModel(validation_prompts=["hi"] * 33))
    request.labels.update({str(index): "" for index in range(65)})
    assert _fields(request) == ["spec.language_model.validation_prompts", "labels"]


def test_map_values_are_named_by_their_key() -> None:
    task = training_pb2.ImageClassifier(class_weights={"cat": math.inf, "dog": 1})
    assert _fields(_train(image_classifier=task)) == ['spec.image_classifier.class_weights["cat"]']


def test_elements_of_a_list_are_named_by_their_index() -> None:
    page = training_service_pb2.ListJobsResponse(jobs=[job_pb2.Job(), job_pb2.Job(priority=0)])
    page.jobs[1].spec.export.source_job = "jobs/1"
    assert _fields(page) == ["jobs[1].spec.export.format"]


def test_only_the_chosen_member_of_a_oneof_is_checked() -> None:
    task = training_pb2.ImageClassifier(image_size=4)
    assert _fields(_train(image_classifier=task)) == ["spec.image_classifier.image_size"]


def test_an_impossible_time_is_a_violation() -> None:
    request = training_service_pb2.ListJobsRequest()
    request.filter.created_after.seconds = 10**15
    assert _fields(request) == ["filter.created_after"]


def test_a_prefix_stands_before_every_path() -> None:
    assert _fields(Hyper(epochs=0), prefix="spec.hyperparameters") == ["spec.hyperparameters.epochs"]


def test_unusual_values_are_warnings_and_not_violations() -> None:
    request = _train(language_model=training_pb2.LanguageModel(lora=training_pb2.LoraConfig(lora_r=256)))
    (warning,) = usual_range_warnings(request)
    assert validate(request) == []
    assert warning.field == "spec.language_model.lora.lora_r"
    assert warning.description == "256 is above the usual 64"


def test_check_raises_one_error_with_all_violations() -> None:
    with pytest.raises(TuneyardError) as caught:
        check(_train(hyperparameters=Hyper(epochs=0, batch_size=0)))
    assert caught.value.reason == "INVALID_FIELD"
    assert len(caught.value.violations) == 2


def test_checking_is_cheap_enough_for_every_call() -> None:
    request = _train(hyperparameters=Hyper(epochs=3), image_classifier=training_pb2.ImageClassifier())
    validate(request)
    started = time.process_time()
    for _ in range(100):
        validate(request)
    assert time.process_time() - started < 1
