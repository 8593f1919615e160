"""Settings that no classifier can be trained with: each is refused by its field, and the next job runs."""

from typing import Any

import grpc
import pytest

from tests.support import bad_archives
from tests.support.platform import Platform
from tests.support.refusals import refused
from tuneyard.v1 import job_pb2, training_pb2, training_service_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", autouse=True)
def _uploaded(vision: Platform) -> None:
    vision.upload_images("pets", bad_archives.good())


def spec(**changes: Any) -> training_pb2.TrainingSpec:
    """A spec that can be trained in two steps, but for `changes`."""
    made = training_pb2.TrainingSpec(
        dataset="datasets/pets",
        base_model="squeezenet1_1",
        hyperparameters=training_pb2.Hyperparameters(max_steps=2, batch_size=8),
        image_classifier=training_pb2.ImageClassifier(pretrained=False, image_size=32),
    )
    made.MergeFrom(training_pb2.TrainingSpec(**changes))
    return made


def hyperparameters(**settings: Any) -> dict[str, Any]:
    return {"hyperparameters": training_pb2.Hyperparameters(**settings)}


def classifier(**settings: Any) -> dict[str, Any]:
    return {"image_classifier": training_pb2.ImageClassifier(**settings)}


LEARNING_RATE = "spec.hyperparameters.learning_rate"
BATCH_SIZE = "spec.hyperparameters.batch_size"

SPECS = {
    "unknown architecture": (
        {"base_model": "resnet5000"},
        "UNKNOWN_BASE_MODEL",
        "spec.base_model",
        "resnet50",
    ),
    "hub model that is not here": (
        {"base_model": "timm/resnet18"},
        "BASE_MODEL_UNAVAILABLE",
        "spec.base_model",
        "tuneyard models import",
    ),
    "model of nobody": ({"base_model": "models/none"}, "MODEL_NOT_FOUND", "", "models/none"),
    "dataset of nobody": ({"dataset": "datasets/none"}, "DATASET_NOT_FOUND", "", "datasets/none"),
    "no name of a dataset": ({"dataset": "pets"}, "INVALID_FIELD", "spec.dataset", "datasets/"),
    "no learning rate": (
        hyperparameters(learning_rate=0.0),
        "INVALID_FIELD",
        LEARNING_RATE,
        "greater than 0",
    ),
    "negative rate": (hyperparameters(learning_rate=-1e-4), "INVALID_FIELD", LEARNING_RATE, "greater than 0"),
    "no number": (hyperparameters(learning_rate=float("nan")), "INVALID_FIELD", LEARNING_RATE, "finite"),
    "endless rate": (hyperparameters(learning_rate=float("inf")), "INVALID_FIELD", LEARNING_RATE, "finite"),
    "batch over the dataset": (
        hyperparameters(batch_size=64),
        "INVALID_FIELD",
        BATCH_SIZE,
        "20 training images",
    ),
    "batch of none": (hyperparameters(batch_size=0), "INVALID_FIELD", BATCH_SIZE, "at least 1"),
    "unknown class": (
        classifier(class_weights={"bird": 2.0}),
        "INVALID_FIELD",
        "spec.image_classifier.class_weights",
        "bird",
    ),
    "tiny images": (
        classifier(image_size=1),
        "INVALID_FIELD",
        "spec.image_classifier.image_size",
        "at least",
    ),
    "epochs and steps": (
        hyperparameters(epochs=1),
        "INVALID_FIELD",
        "spec.hyperparameters.max_steps",
        "not both",
    ),
}


@pytest.mark.parametrize("case", SPECS)
def test_an_impossible_spec_is_refused_by_its_field(vision: Platform, case: str) -> None:
    changes, reason, field, said = SPECS[case]
    request = training_service_pb2.TrainRequest(spec=spec(**changes))
    with vision.channel() as channel:
        error = refused(lambda: vision.training(channel).Train(request, timeout=30))
    assert error.reason == reason
    if field:
        found = {violation.field: violation.description for violation in error.violations}
        assert said in found[field]
    else:
        assert (error.resource, error.code) == (said, grpc.StatusCode.NOT_FOUND)


def test_what_is_refused_makes_no_job_and_the_next_one_runs(vision: Platform) -> None:
    before = listed(vision)
    request = training_service_pb2.TrainRequest(
        spec=spec(**hyperparameters(batch_size=64)), request_id="once"
    )
    with vision.channel() as channel:
        refused(lambda: vision.training(channel).Train(request, timeout=30))
    job = vision.train(spec(), request_id="once")
    vision.watch(job.name).wait(within=90)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job.name).error
    assert listed(vision) == [job.name, *before]
    assert not list((vision.root / "store" / "uploads").iterdir())


def listed(vision: Platform) -> list[str]:
    """The names of all jobs, the newest first."""
    request = training_service_pb2.ListJobsRequest(page_size=1000)
    found = vision.call(lambda channel: vision.training(channel).ListJobs(request, timeout=10))
    assert not found.next_page_token
    return [job.name for job in found.jobs]


def test_broken_images_are_left_out_of_training(vision: Platform) -> None:
    dataset = vision.upload_images("scratched", bad_archives.with_broken_images(2, of=80))
    job = vision.train(spec(dataset=dataset))
    events = vision.watch(job.name).wait(within=90)
    assert vision.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, vision.job(job.name).error
    said = " ".join(event.log.message for event in events)
    counts = [int(number) for number in said.replace(",", " ").split() if number.isdecimal()]
    assert sum(counts[:2]) == 78, said
