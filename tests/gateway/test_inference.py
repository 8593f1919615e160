"""Which trainer answers for a finished job's model, and which jobs have none to ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from tests.support.fake_trainer import FakeTrainer
from tuneyard.gateway.inference import Inference
from tuneyard.gateway.trainers import TrainerAddress, Trainers
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import event_pb2, job_pb2, trainer_service_pb2, training_pb2
from tuneyard.v1.inference_service_pb2 import ClassifyRequest, DetectRequest, GenerateTextRequest

VISION, LLM = training_pb2.FAMILY_VISION, training_pb2.FAMILY_LLM
CLASSIFIER = training_pb2.TrainingSpec(image_classifier=training_pb2.ImageClassifier())
_PATIENCE_SECONDS = 60


class Jobs:
    """One job with three artifacts."""

    def __init__(self, spec: training_pb2.TrainingSpec = CLASSIFIER) -> None:
        spec_of_job = job_pb2.JobSpec(training=spec)
        self.job = job_pb2.Job(
            name="jobs/a", spec=spec_of_job, resolved_spec=spec_of_job, state=job_pb2.JOB_STATE_SUCCEEDED
        )
        self.others: dict[str, job_pb2.Job] = {}
        self.kinds = {
            "model.safetensors": event_pb2.ARTIFACT_KIND_MODEL,
            "config.json": event_pb2.ARTIFACT_KIND_MODEL,
            "confusion.png": event_pb2.ARTIFACT_KIND_IMAGE,
        }

    async def get(self, name: str) -> job_pb2.Job:
        found = {self.job.name: self.job, **self.others}.get(name)
        if found is None:
            raise TuneyardError("JOB_NOT_FOUND", name)
        return found

    async def artifacts(self, name: str) -> list[event_pb2.Artifact]:
        return [event_pb2.Artifact(path=path, kind=kind) for path, kind in self.kinds.items()]

    async def stored_artifacts(self, name: str) -> list[event_pb2.StoredFile]:
        return [event_pb2.StoredFile(path=path, key=f"k/{path}") for path in self.kinds]


class Models:
    """A store with one model."""

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        if name != "models/base":
            raise TuneyardError("MODEL_NOT_FOUND", name)
        return trainer_service_pb2.ModelSource(name=name, sha256="abc")


@pytest.fixture
async def first() -> AsyncIterator[FakeTrainer]:
    trainer = FakeTrainer(trainer_id="first")
    trainer.answers = [b"from the first"]
    yield trainer
    await trainer.stop()


@pytest.fixture
async def second() -> AsyncIterator[FakeTrainer]:
    trainer = FakeTrainer(trainer_id="second", slots=3)
    trainer.answers = [b"from the second"]
    yield trainer
    await trainer.stop()


async def reached(*fakes: FakeTrainer, family: "training_pb2.Family.ValueType" = VISION) -> Trainers:
    trainers = Trainers([TrainerAddress(family, await fake.start()) for fake in fakes])
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for link in trainers.links:
            # On a busy machine a connection may take longer than one refresh waits.
            while not await link.refresh():
                await asyncio.sleep(0.05)
    return trainers


def question(job: str = "jobs/a") -> ClassifyRequest:
    return ClassifyRequest(job=job, top_k=2)


async def refused(inference: Inference, method: str, request: object) -> TuneyardError:
    with pytest.raises(TuneyardError) as error:
        await inference.ask(method, request, within=10)
    return error.value


async def test_the_model_s_files_and_the_question_reach_the_trainer(first: FakeTrainer) -> None:
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first))
    assert await inference.ask("Classify", question(), within=10) == b"from the first"
    [asked] = first.questions
    assert [file.path for file in asked.artifacts] == ["model.safetensors", "config.json"]
    assert ClassifyRequest.FromString(asked.request) == question()
    assert (asked.method, asked.spec.training) == ("Classify", CLASSIFIER)


@pytest.mark.parametrize(("name", "sent"), [("models/base", "abc"), ("models/gone", ""), ("phi-2", "")])
async def test_an_adapter_is_sent_with_its_base_where_the_store_has_it(
    first: FakeTrainer, name: str, sent: str
) -> None:
    jobs = Jobs(training_pb2.TrainingSpec(base_model=name, language_model=training_pb2.LanguageModel()))
    jobs.kinds = {
        "adapter/adapter_model.safetensors": event_pb2.ARTIFACT_KIND_ADAPTER,
        "manifest.json": event_pb2.ARTIFACT_KIND_MANIFEST,
        "metrics.json": event_pb2.ARTIFACT_KIND_METRICS,
    }
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first, family=LLM))
    await inference.ask("GenerateText", GenerateTextRequest(job="jobs/a"), within=10)
    [asked] = first.questions
    assert asked.model.sha256 == sent
    assert [file.path for file in asked.artifacts] == ["adapter/adapter_model.safetensors", "manifest.json"]


def merged(jobs: Jobs) -> Jobs:
    """The same, after another job merged the adapter; its artifacts are the whole model's."""
    jobs.others["jobs/merge"] = job_pb2.Job(
        name="jobs/merge",
        spec=job_pb2.JobSpec(merge=job_pb2.MergeSpec(source_job="jobs/a")),
        state=job_pb2.JOB_STATE_SUCCEEDED,
    )
    jobs.kinds = {"model/model.safetensors": event_pb2.ARTIFACT_KIND_MODEL}
    return jobs


async def test_a_merged_model_is_asked_as_the_one_that_was_trained(first: FakeTrainer) -> None:
    spec = training_pb2.TrainingSpec(base_model="models/base", language_model=training_pb2.LanguageModel())
    inference = Inference(jobs=merged(Jobs(spec)), models=Models(), trainers=await reached(first, family=LLM))
    await inference.ask("GenerateText", GenerateTextRequest(job="jobs/merge"), within=10)
    [asked] = first.questions
    assert (asked.job, asked.spec.training, asked.model.sha256) == ("jobs/merge", spec, "abc")
    assert [file.path for file in asked.artifacts] == ["model/model.safetensors"]


async def test_a_merged_model_whose_training_was_deleted_says_so(first: FakeTrainer) -> None:
    jobs = merged(Jobs())
    jobs.job.name = "jobs/other"
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first, family=LLM))
    error = await refused(inference, "GenerateText", GenerateTextRequest(job="jobs/merge"))
    assert (error.reason, "was deleted" in error.message) == ("INVALID_FIELD", True)


async def test_a_manifest_alone_is_no_model(first: FakeTrainer) -> None:
    jobs = Jobs()
    jobs.kinds = {"manifest.json": event_pb2.ARTIFACT_KIND_MANIFEST}
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first))
    assert (await refused(inference, "Classify", question())).reason == "ARTIFACT_NOT_FOUND"


async def test_the_least_busy_trainer_is_asked_and_then_stays_the_one(
    first: FakeTrainer, second: FakeTrainer
) -> None:
    trainers = await reached(first, second)
    inference = Inference(jobs=Jobs(), models=Models(), trainers=trainers)
    assert await inference.ask("Classify", question(), within=10) == b"from the second"
    second.slots = 0
    await trainers.links[1].refresh()
    assert await inference.ask("Classify", question(), within=10) == b"from the second"


async def test_where_one_trainer_is_busy_another_one_answers(first: FakeTrainer, second: FakeTrainer) -> None:
    second.refusals["Infer"] = TuneyardError("NO_FREE_SLOT", "busy")
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first, second))
    assert await inference.ask("Classify", question(), within=10) == b"from the first"


async def test_a_device_that_an_ended_job_is_about_to_leave_is_waited_for(first: FakeTrainer) -> None:
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first))
    first.refusals["Infer"] = TuneyardError("NO_FREE_SLOT", "cpu runs jobs/a", metadata={"jobs": "jobs/a"})
    asyncio.get_running_loop().call_later(0.2, first.refusals.clear)
    assert await inference.ask("Classify", question(), within=10) == b"from the first"


async def test_a_device_that_a_running_job_has_is_not_waited_for(first: FakeTrainer) -> None:
    jobs = Jobs()
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first))
    first.refusals["Infer"] = TuneyardError("NO_FREE_SLOT", "cpu runs jobs/b", metadata={"jobs": "jobs/b"})
    jobs.others["jobs/b"] = job_pb2.Job(name="jobs/b", state=job_pb2.JOB_STATE_RUNNING)
    assert (await refused(inference, "Classify", question())).reason == "NO_FREE_SLOT"


async def test_where_all_are_busy_or_away_the_caller_hears_who_is_busy(
    first: FakeTrainer, second: FakeTrainer
) -> None:
    second.refusals["Infer"] = TuneyardError("SHUTTING_DOWN", "stopping")
    first.refusals["Infer"] = TuneyardError("NO_FREE_SLOT", "cpu runs jobs/b")
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first, second))
    error = await refused(inference, "Classify", question())
    assert (error.reason, error.message) == ("NO_FREE_SLOT", "cpu runs jobs/b")


async def test_what_is_wrong_with_the_request_is_not_tried_elsewhere(
    first: FakeTrainer, second: FakeTrainer
) -> None:
    second.refusals["Infer"] = TuneyardError("INVALID_FIELD", "images[0].content: no image")
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first, second))
    assert (await refused(inference, "Classify", question())).reason == "INVALID_FIELD"
    assert not first.questions


async def test_a_trainer_out_of_reach_is_told(first: FakeTrainer) -> None:
    trainers = await reached(first)
    await first.stop()
    await trainers.links[0].refresh()
    error = await refused(Inference(jobs=Jobs(), models=Models(), trainers=trainers), "Classify", question())
    assert error.reason == "TRAINER_UNAVAILABLE"


async def test_a_stream_brings_every_piece(first: FakeTrainer) -> None:
    first.answers = [b"one", b"two", b"three"]
    jobs = Jobs(training_pb2.TrainingSpec(language_model=training_pb2.LanguageModel()))
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first, family=LLM))
    pieces = inference.stream("GenerateText", GenerateTextRequest(job="jobs/a"), within=10)
    assert [piece async for piece in pieces] == [b"one", b"two", b"three"]


async def test_who_leaves_a_stream_early_ends_the_answer(first: FakeTrainer) -> None:
    first.never_ends = True
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first))
    async with aclosing(inference.stream("Classify", question(), within=30)) as pieces:
        await anext(pieces)
    async with asyncio.timeout(30):
        await first.answer_ended.wait()


async def test_another_method_than_the_task_s_names_the_right_one(first: FakeTrainer) -> None:
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first))
    error = await refused(inference, "Detect", DetectRequest(job="jobs/a"))
    assert error.reason == "INVALID_FIELD"
    assert [violation.field for violation in error.violations] == ["job"]
    assert "call Classify" in error.message


async def test_only_a_job_that_trained_has_a_model_to_try(first: FakeTrainer) -> None:
    jobs = Jobs()
    jobs.job.spec.export.source_job = "jobs/trained"
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first))
    assert "jobs/trained" in (await refused(inference, "Classify", question())).message


@pytest.mark.parametrize("state", ["RUNNING", "FAILED", "QUEUED"])
async def test_a_job_that_has_not_succeeded_is_not_tried(first: FakeTrainer, state: str) -> None:
    jobs = Jobs()
    jobs.job.state = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    error = await refused(
        Inference(jobs=jobs, models=Models(), trainers=await reached(first)), "Classify", question()
    )
    assert (error.reason, error.metadata) == ("JOB_STATE_CONFLICT", {"state": state})


async def test_a_job_without_a_model_says_so(first: FakeTrainer) -> None:
    jobs = Jobs()
    jobs.kinds = {"confusion.png": event_pb2.ARTIFACT_KIND_IMAGE}
    inference = Inference(jobs=jobs, models=Models(), trainers=await reached(first))
    assert (await refused(inference, "Classify", question())).reason == "ARTIFACT_NOT_FOUND"


async def test_a_name_that_no_job_has_is_told(first: FakeTrainer) -> None:
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first))
    assert (await refused(inference, "Classify", question("jobs/b"))).reason == "JOB_NOT_FOUND"
    assert (await refused(inference, "Classify", question("a b"))).violations[0].field == "job"


async def test_a_family_without_a_trainer_is_told(first: FakeTrainer) -> None:
    inference = Inference(jobs=Jobs(), models=Models(), trainers=await reached(first, family=LLM))
    assert (await refused(inference, "Classify", question())).reason == "NO_TRAINER"
