"""Jobs over the wire: what is accepted, what is refused and how, who is followed."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from tests.support.edge import Edge, eventually, image_folder, refusal
from tuneyard.gateway import intake
from tuneyard.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    errors_pb2,
    job_pb2,
    system_service_pb2,
    training_pb2,
)
from tuneyard.v1 import training_service_pb2 as pb


@pytest.fixture
def edge(edge_with_shapes: Edge) -> Edge:
    return edge_with_shapes


def spec(dataset: str = "datasets/shapes", **fields: Any) -> training_pb2.TrainingSpec:
    made = training_pb2.TrainingSpec(dataset=dataset, base_model="resnet18", **fields)
    if made.WhichOneof("task") is None:
        made.image_classifier.SetInParent()
    return made


def hyper(**fields: Any) -> training_pb2.Hyperparameters:
    return training_pb2.Hyperparameters(**fields)


async def train(edge: Edge, **fields: Any) -> job_pb2.Job:
    fields.setdefault("spec", spec())
    answer = await edge.training.Train(pb.TrainRequest(**fields))
    return answer.job  # type: ignore[no-any-return]


async def test_a_job_is_accepted_resolved_and_queued(edge: Edge) -> None:
    job = await train(edge, labels={"team": "a"}, priority=3)
    assert (job.state, job.family, job.planned_steps) == (
        job_pb2.JOB_STATE_QUEUED,
        training_pb2.FAMILY_VISION,
        30,
    )
    assert job.resolved_spec.training.base_model == "resnet18"
    assert (dict(job.labels), job.priority, job.queue_position) == ({"team": "a"}, 3, 1)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"hyperparameters": hyper(learning_rate=0)}, "spec.hyperparameters.learning_rate"),
        ({"hyperparameters": hyper(learning_rate=-1)}, "spec.hyperparameters.learning_rate"),
        ({"hyperparameters": hyper(batch_size=0)}, "spec.hyperparameters.batch_size"),
        ({"hyperparameters": hyper(epochs=1, max_steps=1)}, "spec.hyperparameters.max_steps"),
        ({"seed": -1}, "spec.seed"),
        ({"dataset": "digits"}, "spec.dataset"),
        ({"dataset": ""}, "spec.dataset"),
        (
            {"image_classifier": training_pb2.ImageClassifier(image_size=1)},
            "spec.image_classifier.image_size",
        ),
    ],
)
async def test_a_wrong_field_is_named_with_its_path(edge: Edge, wrong: dict[str, Any], field: str) -> None:
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec(**wrong))))
    assert error.reason == "INVALID_FIELD"
    assert [violation.field for violation in error.violations] == [field]


async def test_a_spec_without_a_task_is_refused_with_everything_else(edge: Edge) -> None:
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=training_pb2.TrainingSpec())))
    fields = {violation.field for violation in error.violations}
    assert fields == {"spec.dataset", "spec.base_model", "spec.task"}


async def test_a_spec_of_many_megabytes_is_refused_with_the_limit(edge: Edge) -> None:
    weights = {f"class {number:06d}": 1.0 for number in range(60_000)}
    task = training_pb2.ImageClassifier(class_weights=weights)
    large = spec(image_classifier=task)
    for call in (
        edge.training.Train(pb.TrainRequest(spec=large)),
        edge.training.Estimate(pb.EstimateRequest(spec=large)),
        edge.training.RerunJob(
            pb.RerunJobRequest(name="jobs/none", spec=job_pb2.JobSpec(training=large)),
        ),
    ):
        assert (await refusal(call)).reason == "MESSAGE_TOO_LARGE"


async def test_an_unknown_dataset_is_not_found(edge: Edge) -> None:
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec("datasets/none"))))
    assert (error.reason, error.resource) == ("DATASET_NOT_FOUND", "datasets/none")


async def test_an_invalid_dataset_is_refused_with_its_first_findings(edge: Edge) -> None:
    name = await edge.ready_dataset("bad", b"nonsense")
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec(name))))
    assert error.reason == "DATASET_INVALID"
    assert "ZIP" in error.message


async def test_a_dataset_without_its_bytes_is_not_ready(edge: Edge) -> None:
    created = await edge.create_dataset(b"12345")
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec(created.name))))
    assert error.reason == "DATASET_NOT_READY"


async def test_a_family_without_a_trainer_is_refused(edge: Edge) -> None:
    request = spec(language_model=training_pb2.LanguageModel())
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=request)))
    assert error.reason == "NO_TRAINER"
    assert "TUNEYARD_TRAINERS" in error.message


async def test_what_the_trainer_refuses_is_told_with_full_paths(edge: Edge) -> None:
    edge.trainer.estimate.estimate.violations.add(field="spec.base_model", description="no such architecture")
    edge.trainer.estimate.reason = errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec())))
    assert error.reason == "UNKNOWN_BASE_MODEL"
    assert error.violations[0].field == "spec.base_model"


async def test_a_job_that_cannot_fit_is_refused_with_the_numbers(edge: Edge) -> None:
    estimate = edge.trainer.estimate.estimate
    estimate.fits, estimate.memory.device_bytes = False, 90_000_000_000
    estimate.alternatives.add(description="batch 4 x accumulation 4")
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec())))
    assert (error.reason, error.metadata["memory_bytes"]) == ("DOES_NOT_FIT", "90000000000")
    assert "batch 4" in error.message


async def test_a_job_that_no_disk_has_room_for_is_refused_with_the_numbers(edge: Edge) -> None:
    edge.trainer.estimate.estimate.disk_bytes = 40_000_000_000
    edge.trainer.disk_free_bytes = 3_000_000_000

    async def is_known() -> bool | None:
        answer = await edge.system.ListTrainers(system_service_pb2.ListTrainersRequest())
        return answer.trainers[0].disk_free_bytes == 3_000_000_000 or None

    await eventually(is_known)
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec())))
    assert (error.reason, error.metadata["disk_free_bytes"]) == ("STORAGE_FULL", "3000000000")
    assert "40.0 GB" in error.message


async def test_a_job_is_accepted_though_its_trainer_hangs(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_RESOLVED_WITHIN", timedelta(seconds=0.2))
    edge.trainer.hangs = True
    job = await train(edge)
    assert (job.state, job.HasField("resolved_spec")) == (job_pb2.JOB_STATE_QUEUED, False)


async def test_unusual_values_are_warnings_on_the_job(edge: Edge) -> None:
    task = training_pb2.ImageClassifier(label_smoothing=0.5)
    job = await train(edge, spec=spec(image_classifier=task))
    assert list(job.warnings) == ["spec.image_classifier.label_smoothing: 0.5 is above the usual 0.2"]


async def test_validate_only_creates_nothing(edge: Edge) -> None:
    job = await train(edge, validate_only=True)
    assert (job.name, job.planned_steps) == ("", 30)
    assert (await edge.training.ListJobs(pb.ListJobsRequest())).total_size == 0


async def test_one_request_id_makes_one_job_even_after_its_dataset_is_gone(edge: Edge) -> None:
    first, second = await asyncio.gather(train(edge, request_id="r"), train(edge, request_id="r"))
    assert first.name == second.name
    error = await refusal(edge.training.Train(pb.TrainRequest(spec=spec(), request_id="r", priority=1)))
    assert error.reason == "REQUEST_ID_REUSED"
    await edge.training.CancelJob(pb.CancelJobRequest(name=first.name))
    await edge.datasets.DeleteDataset(dataset_service_pb2.DeleteDatasetRequest(name="datasets/shapes"))
    assert (await train(edge, request_id="r")).name == first.name


async def test_an_estimate_tells_every_violation_and_succeeds(edge: Edge) -> None:
    wrong = spec("datasets/none", hyperparameters=hyper(epochs=0, batch_size=0))
    found = (await edge.training.Estimate(pb.EstimateRequest(spec=wrong))).estimate
    assert [each.field for each in found.violations] == [
        "spec.hyperparameters.epochs",
        "spec.hyperparameters.batch_size",
    ]
    unknown = (await edge.training.Estimate(pb.EstimateRequest(spec=spec("datasets/none")))).estimate
    assert [each.field for each in unknown.violations] == ["spec.dataset"]


async def test_an_estimate_resolves_and_creates_nothing(edge: Edge) -> None:
    found = (await edge.training.Estimate(pb.EstimateRequest(spec=spec()))).estimate
    assert (found.total_steps, found.fits) == (30, True)
    assert (await edge.training.ListJobs(pb.ListJobsRequest())).total_size == 0


async def test_a_queued_job_is_paused_resumed_cancelled_and_rerun(edge: Edge) -> None:
    job = await train(edge, labels={"a": "1"})
    paused = (await edge.training.PauseJob(pb.PauseJobRequest(name=job.name))).job
    resumed = (await edge.training.ResumeJob(pb.ResumeJobRequest(name=job.name))).job
    early = await refusal(edge.training.RerunJob(pb.RerunJobRequest(name=job.name)))
    cancelled = (await edge.training.CancelJob(pb.CancelJobRequest(name=job.name))).job
    rerun = (await edge.training.RerunJob(pb.RerunJobRequest(name=job.name, labels={"b": "2"}))).job
    assert paused.state == job_pb2.JOB_STATE_PAUSED
    assert resumed.state == job_pb2.JOB_STATE_QUEUED
    assert early.reason == "JOB_STATE_CONFLICT"
    assert cancelled.state == job_pb2.JOB_STATE_CANCELLED
    assert (rerun.rerun_of, dict(rerun.labels)) == (job.name, {"a": "1", "b": "2"})


async def test_a_watch_replays_follows_and_ends_with_the_job(edge: Edge) -> None:
    job = await train(edge)
    call = edge.training.WatchJob(pb.WatchJobRequest(name=job.name))
    responses = aiter(call)
    first = await anext(responses)
    assert first.events[0].sequence == 1
    await edge.training.CancelJob(pb.CancelJobRequest(name=job.name))
    sequences = [event.sequence for event in first.events]
    async for response in responses:
        sequences += [event.sequence for event in response.events]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_jobs_are_watched_from_their_current_state_on(edge: Edge) -> None:
    job = await train(edge)
    call = edge.training.WatchJobs(pb.WatchJobsRequest())
    responses = aiter(call)
    snapshot = await anext(responses)
    assert ([each.name for each in snapshot.jobs], snapshot.snapshot_complete) == ([job.name], True)
    await edge.training.CancelJob(pb.CancelJobRequest(name=job.name))
    async for response in responses:
        if any(each.state == job_pb2.JOB_STATE_CANCELLED for each in response.jobs):
            break
    call.cancel()


async def test_a_terminal_job_can_be_deleted_and_no_other(edge: Edge) -> None:
    job = await train(edge)
    early = await refusal(edge.training.DeleteJob(pb.DeleteJobRequest(name=job.name)))
    await edge.training.CancelJob(pb.CancelJobRequest(name=job.name))
    await edge.training.DeleteJob(pb.DeleteJobRequest(name=job.name))
    gone = await refusal(edge.training.GetJob(pb.GetJobRequest(name=job.name)))
    assert (early.reason, gone.reason) == ("JOB_STATE_CONFLICT", "JOB_NOT_FOUND")


NAMED = ["GetJob", "CancelJob", "PauseJob", "ResumeJob", "RerunJob", "DeleteJob", "WatchJob", "GetJobMetrics"]


async def test_wrong_job_names_are_typed_errors(edge: Edge) -> None:
    reasons = {"jobs/none": "JOB_NOT_FOUND", "none": "INVALID_FIELD", "": "INVALID_FIELD"}
    for method, name in itertools.product(NAMED, reasons):
        request: Any = getattr(pb, f"{method}Request")(name=name)
        assert (await refusal(getattr(edge.training, method)(request))).reason == reasons[name]


@pytest.mark.parametrize("method", ["Merge", "Export", "Evaluate"])
async def test_what_no_trainer_does_yet_is_not_supported(edge: Edge, method: str) -> None:
    job = await train(edge)
    values: Any = {"source_job": job.name} | ({"format": 1} if method == "Export" else {})
    request: Any = getattr(pb, f"{method}Request")(spec=values)
    error = await refusal(getattr(edge.training, method)(request))
    assert error.reason in {"NOT_SUPPORTED", "JOB_STATE_CONFLICT"}


async def test_a_job_on_a_dataset_that_is_being_validated_waits(edge: Edge) -> None:
    content = image_folder(per_class=60)
    created = await edge.create_dataset(content)
    uploaded = await edge.upload(created.name, content)
    job = await train(edge, spec=spec(created.name))
    assert uploaded.state == dataset_pb2.DATASET_STATE_VALIDATING
    assert job.state == job_pb2.JOB_STATE_QUEUED


async def test_a_preview_is_made_of_the_resolved_spec(edge: Edge) -> None:
    name = "datasets/shapes"
    edge.trainer.estimate.estimate.violations.add(field="spec.hyperparameters.batch_size", description="huge")
    edge.trainer.estimate.estimate.resolved_spec.training.seed = 7
    answer = await edge.training.Preview(pb.PreviewRequest(spec=spec(), first_row=5))
    assert answer.preview.row_count == 3
    [asked] = edge.trainer.previewed
    assert (asked.spec.training.seed, asked.dataset.name) == (7, name)
    assert (asked.split, asked.first_row, asked.max_rows) == ("train", 5, 10)


async def test_a_preview_is_refused_where_its_tokens_are_not_known(edge: Edge) -> None:
    refused = await refusal(edge.training.Preview(pb.PreviewRequest(spec=spec(dataset=""))))
    assert [each.field for each in refused.violations] == ["spec.dataset"]
    refused = await refusal(edge.training.Preview(pb.PreviewRequest(spec=spec("datasets/none"))))
    assert refused.reason == "DATASET_NOT_FOUND"
    refused = await refusal(edge.training.Preview(pb.PreviewRequest(spec=spec(), split="test", max_rows=99)))
    assert {each.field for each in refused.violations} == {"split", "max_rows"}
    estimate = edge.trainer.estimate.estimate
    estimate.resolved_spec.training.seed = 7
    estimate.violations.add(field="spec.language_model.max_length", description="too long")
    refused = await refusal(edge.training.Preview(pb.PreviewRequest(spec=spec())))
    assert (refused.reason, refused.violations[0].field) == (
        "INVALID_FIELD",
        "spec.language_model.max_length",
    )
    assert not edge.trainer.previewed


async def test_a_preview_waits_for_no_upload(edge: Edge) -> None:
    await edge.create_dataset(image_folder(), dataset_id="late")
    refused = await refusal(edge.training.Preview(pb.PreviewRequest(spec=spec("datasets/late"))))
    assert refused.reason == "DATASET_NOT_READY"
