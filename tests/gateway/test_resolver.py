from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tuneyard.gateway.resolver import Resolver, Sources, Waiting
from tuneyard.gateway.standing_models import WantedBase
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, trainer_service_pb2, training_pb2

STATES = {
    "ready": dataset_pb2.DATASET_STATE_READY,
    "validating": dataset_pb2.DATASET_STATE_VALIDATING,
    "invalid": dataset_pb2.DATASET_STATE_INVALID,
}


class Datasets:
    def __init__(self, states: Mapping[str, str]) -> None:
        self.states = states

    async def get(self, name: str) -> dataset_pb2.Dataset:
        if name not in self.states:
            raise TuneyardError("DATASET_NOT_FOUND", f"there is no {name}")
        return dataset_pb2.Dataset(name=name, state=STATES[self.states[name]])

    async def source(self, name: str) -> trainer_service_pb2.DatasetSource:
        return trainer_service_pb2.DatasetSource(name=name)


class Models:
    def __init__(self, *names: str) -> None:
        self.names = names

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        if name not in self.names:
            raise TuneyardError("MODEL_NOT_FOUND", f"there is no {name}")
        return trainer_service_pb2.ModelSource(name=name)

    async def standing_for(self, wanted: WantedBase) -> None:
        return None


class Jobs:
    """One job, trained on datasets/own from models/base and validated on datasets/other."""

    def __init__(
        self, state: "job_pb2.JobState.ValueType", trained: training_pb2.TrainingSpec | None = None
    ) -> None:
        self.state = state
        self.trained = trained or training_pb2.TrainingSpec(dataset="datasets/own", base_model="models/base")

    async def get(self, name: str) -> job_pb2.Job:
        training = training_pb2.TrainingSpec()
        training.CopyFrom(self.trained)
        training.data_split.validation_dataset = "datasets/other"
        return job_pb2.Job(name=name, state=self.state, resolved_spec=job_pb2.JobSpec(training=training))

    async def stored_artifacts(self, name: str) -> list[event_pb2.StoredFile]:
        return [event_pb2.StoredFile(path="model.safetensors")]


class Trainers:
    """Answers every question, and keeps it."""

    def __init__(self) -> None:
        self.asked: list[trainer_service_pb2.TrainerServiceEstimateRequest] = []

    def base_models(self, family: int) -> list[Any]:
        return []

    async def estimate(self, family: int, request: Any, *, within: timedelta) -> Any:
        self.asked.append(request)
        return trainer_service_pb2.TrainerServiceEstimateResponse(estimate=job_pb2.Estimate(fits=True))


def resolver(
    *,
    datasets: Mapping[str, str],
    models: tuple[str, ...] = (),
    trainers: Trainers | None = None,
    state: "job_pb2.JobState.ValueType" = job_pb2.JOB_STATE_SUCCEEDED,
    trained: training_pb2.TrainingSpec | None = None,
) -> Resolver:
    asked: Any = trainers or Trainers()
    return Resolver(
        trainers=asked, datasets=Datasets(datasets), models=Models(*models), jobs=Jobs(state, trained)
    )


def evaluate(**settings: Any) -> job_pb2.JobSpec:
    return job_pb2.JobSpec(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1", **settings))


EXPORT = job_pb2.JobSpec(export=job_pb2.ExportSpec(source_job="jobs/1", format=job_pb2.EXPORT_FORMAT_ONNX))
BOTH = {"datasets/own": "ready", "datasets/other": "ready"}


async def sources(spec: job_pb2.JobSpec, **there: Any) -> Sources:
    found = await resolver(**there).sources(spec)
    assert isinstance(found, Sources)
    return found


def names(found: Sources) -> list[str]:
    kinds = (found.dataset, found.validation_dataset, found.source_dataset, found.model)
    return [kind.name if kind is not None else "" for kind in kinds]


async def test_an_evaluation_is_on_the_trainings_own_dataset_by_default() -> None:
    found = await sources(evaluate(), datasets=BOTH, models=("models/base",))
    assert names(found) == ["datasets/own", "", "datasets/own", "models/base"]
    assert [file.path for file in found.source_artifacts] == ["model.safetensors"]


async def test_an_evaluation_on_the_validation_split_gets_the_validation_dataset() -> None:
    found = await sources(evaluate(split="val"), datasets=BOTH)
    assert names(found) == ["datasets/own", "datasets/other", "datasets/own", ""]


async def test_another_dataset_comes_with_the_one_that_was_trained_on_where_it_is_there() -> None:
    spec = evaluate(dataset="datasets/other")
    assert names(await sources(spec, datasets=BOTH)) == ["datasets/other", "", "datasets/own", ""]
    assert names(await sources(spec, datasets={"datasets/other": "ready"})) == ["datasets/other", "", "", ""]


async def test_an_export_needs_no_dataset() -> None:
    assert names(await sources(EXPORT, datasets=BOTH))[0] == "datasets/own"
    for state in ("validating", "invalid"):
        assert names(await sources(EXPORT, datasets={"datasets/own": state}))[0] == ""
    assert names(await sources(EXPORT, datasets={}))[0] == ""


async def test_a_merge_is_tried_on_what_was_held_out_where_that_is_still_there() -> None:
    merge = job_pb2.JobSpec(merge=job_pb2.MergeSpec(source_job="jobs/1"))
    assert names(await sources(merge, datasets=BOTH, models=("models/base",))) == [
        *("datasets/own", "datasets/other", "", "models/base")
    ]
    assert names(await sources(merge, datasets={})) == ["", "", "", ""]


async def test_an_evaluation_waits_for_its_dataset_and_fails_without_it() -> None:
    there = resolver(datasets={"datasets/own": "validating"})
    assert await there.sources(evaluate()) == Waiting("the validation of datasets/own")
    with pytest.raises(TuneyardError) as caught:
        await resolver(datasets={}).sources(evaluate())
    assert caught.value.reason == "DATASET_NOT_FOUND"


async def test_a_job_that_has_not_succeeded_is_no_source() -> None:
    with pytest.raises(TuneyardError) as caught:
        await resolver(datasets=BOTH, state=job_pb2.JOB_STATE_FAILED).sources(EXPORT)
    assert caught.value.reason == "JOB_STATE_CONFLICT"


def scored_training(clip_model: str) -> training_pb2.TrainingSpec:
    task = training_pb2.TextToImageLora(clip_model=clip_model)
    return training_pb2.TrainingSpec(
        dataset="datasets/own", base_model="models/base", text_to_image_lora=task
    )


def clip_of(found: Sources) -> str:
    return found.clip_model.name if found.clip_model is not None else ""


async def test_what_scores_pictures_comes_with_the_training_that_names_it() -> None:
    spec = job_pb2.JobSpec(training=scored_training("models/clip"))
    found = await sources(spec, datasets=BOTH, models=("models/base", "models/clip"))
    assert clip_of(found) == "models/clip"
    with pytest.raises(TuneyardError) as caught:
        await sources(spec, datasets=BOTH, models=("models/base",))
    (violation,) = caught.value.violations
    assert violation.field == "spec.text_to_image_lora.clip_model"


async def test_an_evaluation_scores_by_what_the_training_did_where_that_is_still_there() -> None:
    trained = scored_training("models/clip")
    models = ("models/base", "models/clip", "models/other")
    found = await sources(evaluate(), datasets=BOTH, models=models, trained=trained)
    other = await sources(evaluate(clip_model="models/other"), datasets=BOTH, models=models, trained=trained)
    gone = await sources(evaluate(), datasets=BOTH, models=("models/base",), trained=trained)
    assert [clip_of(each) for each in (found, other, gone)] == ["models/clip", "models/other", ""]
    assert clip_of(await sources(EXPORT, datasets=BOTH, models=models, trained=trained)) == ""


async def test_only_pictures_are_scored_by_a_clip_model() -> None:
    with pytest.raises(TuneyardError) as caught:
        await sources(evaluate(clip_model="models/clip"), datasets=BOTH, models=("models/clip",))
    assert [violation.field for violation in caught.value.violations] == ["spec.clip_model"]


async def test_the_trainer_is_asked_with_everything_that_was_found() -> None:
    trainers = Trainers()
    asked = resolver(datasets=BOTH, models=("models/base",), trainers=trainers)
    await asked.resolve(training_pb2.FAMILY_VISION, evaluate(dataset="datasets/other"))
    (request,) = trainers.asked
    assert (request.dataset.name, request.source_dataset.name) == ("datasets/other", "datasets/own")
    assert (request.model.name, request.source_spec.training.dataset) == ("models/base", "datasets/own")
