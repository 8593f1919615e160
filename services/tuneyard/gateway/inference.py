"""Has finished models tried: finds the job and its model's files, and a trainer that answers.

What is asked and answered passes through as bytes; only its job is looked at.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Protocol

from tuneyard.gateway.kinds import FAMILIES, source_job, task_kind
from tuneyard.gateway.trainers import AWAY, TrainerLink, Trainers
from tuneyard.gateway.transitions import WITH_ATTEMPT
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.rpc.names import job_id
from tuneyard.v1 import event_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2

LONGEST_SECONDS: Final = 600.0
"""How long a call may take at most, and one without a deadline."""

_METHODS: Final = {
    training_pb2.TASK_KIND_IMAGE_CLASSIFIER: "Classify",
    training_pb2.TASK_KIND_OBJECT_DETECTOR: "Detect",
    training_pb2.TASK_KIND_LANGUAGE_MODEL: "GenerateText",
    training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA: "GenerateImages",
}
_MODEL: Final = frozenset({event_pb2.ARTIFACT_KIND_MODEL, event_pb2.ARTIFACT_KIND_ADAPTER})
_ABOUT_MODEL: Final = _MODEL | {event_pb2.ARTIFACT_KIND_MANIFEST}
_ON_A_BASE: Final = frozenset(
    {training_pb2.TASK_KIND_LANGUAGE_MODEL, training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA}
)
"""Tasks whose artifacts may be an adapter alone."""
_ELSEWHERE: Final = AWAY | {"NO_FREE_SLOT", "STORE_UNAVAILABLE", "TOO_MANY_REQUESTS"}
"""What one trainer says where another one may answer."""
_MAX_REMEMBERED: Final = 1000
_LEAVING_SECONDS: Final = 5.0
"""How long a worker may take to leave after its job has ended: whoever tries a model right then waits."""
_LOOK_AGAIN_SECONDS: Final = 0.1


class JobLookup(Protocol):
    """What is read of jobs."""

    async def get(self, name: str) -> job_pb2.Job:
        """Returns one job; JOB_NOT_FOUND."""
        ...

    async def artifacts(self, name: str) -> list[event_pb2.Artifact]:
        """Returns a job's artifacts."""
        ...

    async def stored_artifacts(self, name: str) -> list[event_pb2.StoredFile]:
        """Returns the files of a job's artifacts, with paths relative to them."""
        ...


class ModelLookup(Protocol):
    """What is read of models."""

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        """Returns a READY model with its files; MODEL_NOT_FOUND, BASE_MODEL_UNAVAILABLE."""
        ...


class Inference:
    """Passes questions on to trainers, and their answers back."""

    def __init__(self, *, jobs: JobLookup, models: ModelLookup, trainers: Trainers) -> None:
        self._jobs = jobs
        self._models = models
        self._trainers = trainers
        self._answered_by: dict[str, str] = {}

    async def ask(self, method: str, request: Any, *, within: float | None) -> bytes:
        """The one answer to a request; see `stream`."""
        async with aclosing(self.stream(method, request, within=within)) as pieces:
            async for piece in pieces:
                return piece
        raise TuneyardError("INTERNAL", "the trainer gave no answer")

    async def stream(self, method: str, request: Any, *, within: float | None) -> AsyncGenerator[bytes, None]:
        """The serialized pieces of the answer; `within` is the seconds that the caller waits.

        JOB_NOT_FOUND, JOB_STATE_CONFLICT, ARTIFACT_NOT_FOUND; INVALID_FIELD for a job whose model is asked
        by another method; NO_TRAINER, TRAINER_UNAVAILABLE, NO_FREE_SLOT, and what the trainer says.
        """
        job_id(request.job, field="job")
        job = await self._jobs.get(request.job)
        trained = await self._trained(job)
        task = _task(job, trained, method)
        question = trainer_service_pb2.InferRequest(
            job=job.name,
            spec=trained.resolved_spec,
            artifacts=await self._model_files(job.name),
            request=request.SerializeToString(),
            method=method,
            model=await self._base_model(trained) if task in _ON_A_BASE else None,
        )
        links = await self._by_preference(job.name, self._trainers.links_of(FAMILIES[task]))
        timeout = LONGEST_SECONDS if within is None else min(within, LONGEST_SECONDS)
        patience = time.monotonic() + min(timeout, _LEAVING_SECONDS)
        while True:
            try:
                async with aclosing(self._answers(question, links, timeout=timeout)) as answers:
                    async for answer in answers:
                        yield answer
                return
            except TuneyardError as error:
                if time.monotonic() > patience or not await self._is_being_freed(error):
                    raise
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _trained(self, job: job_pb2.Job) -> job_pb2.Job:
        """The job that trained the model: another one where its adapter was merged since."""
        if job.spec.WhichOneof("kind") != "merge":
            return job
        try:
            return await self._jobs.get(source_job(job.spec))
        except TuneyardError as error:
            if error.reason != "JOB_NOT_FOUND":
                raise
            text = f"{source_job(job.spec)}, whose adapter {job.name} merged, was deleted: download the model"
            raise invalid("job", f"{text} to try it") from None

    async def _is_being_freed(self, error: TuneyardError) -> bool:
        """Whether a device is taken by a worker that has told its job's end and is about to leave."""
        if error.reason != "NO_FREE_SLOT":
            return False
        for name in error.metadata.get("jobs", "").split():
            # A job that is deleted meanwhile had ended.
            with suppress(TuneyardError):
                if (await self._jobs.get(name)).state in WITH_ATTEMPT:
                    continue
            return True
        return False

    async def _model_files(self, name: str) -> list[event_pb2.StoredFile]:
        """The files that the model consists of, and what tells where they came from."""
        kinds = {artifact.path: artifact.kind for artifact in await self._jobs.artifacts(name)}
        stored = await self._jobs.stored_artifacts(name)
        files = [file for file in stored if kinds.get(file.path) in _ABOUT_MODEL]
        if not any(kinds[file.path] in _MODEL for file in files):
            raise TuneyardError("ARTIFACT_NOT_FOUND", f"{name} has no model to be tried", resource=name)
        return files

    async def _base_model(self, job: job_pb2.Job) -> trainer_service_pb2.ModelSource | None:
        """The base model; None where it is none of the store's, or gone: that is the trainer's to explain."""
        name = job.resolved_spec.training.base_model
        if not name.startswith("models/"):
            return None
        try:
            return await self._models.source(name)
        except TuneyardError as error:
            if error.reason != "MODEL_NOT_FOUND":
                raise
            return None

    async def _by_preference(self, job: str, links: Sequence[TrainerLink]) -> list[TrainerLink]:
        """The trainers that can be reached: first the one that has the model loaded, then the least busy."""
        reachable = [link for link in links if link.reachable or await link.refresh(timeout=1.0)]
        if not reachable:
            raise TuneyardError("TRAINER_UNAVAILABLE", "no trainer that has such models can be reached now")
        last = self._answered_by.get(job)
        return sorted(reachable, key=lambda link: (link.address.target != last, -_free_slots(link)))

    async def _answers(
        self, question: trainer_service_pb2.InferRequest, links: Sequence[TrainerLink], *, timeout: float
    ) -> AsyncGenerator[bytes, None]:
        """The answer of the first trainer that gives one; once it has begun, no other one is asked."""
        refusals: list[TuneyardError] = []
        for link in links:
            has_begun = False
            try:
                async with aclosing(link.infer(question, timeout=timeout)) as responses:
                    async for response in responses:
                        has_begun = True
                        self._remember(question.job, link)
                        yield response.response
                return
            except TuneyardError as error:
                if has_begun or error.reason not in _ELSEWHERE:
                    raise
                refusals.append(error)
        # A busy trainer tells the caller more than one that is away.
        raise next((error for error in refusals if error.reason == "NO_FREE_SLOT"), refusals[0])

    def _remember(self, job: str, link: TrainerLink) -> None:
        self._answered_by.pop(job, None)
        self._answered_by[job] = link.address.target
        if len(self._answered_by) > _MAX_REMEMBERED:
            del self._answered_by[next(iter(self._answered_by))]


def _task(job: job_pb2.Job, trained: job_pb2.Job, method: str) -> "training_pb2.TaskKind.ValueType":
    """The task that the job's model was trained for, if it can be asked by the method."""
    kind = job.spec.WhichOneof("kind")
    if kind not in ("training", "merge"):
        raise invalid(
            "job", f"{job.name} is of the kind {kind}: name the job that trained, {source_job(job.spec)}"
        )
    task = task_kind(trained)
    if _METHODS[task] != method:
        named = training_pb2.TaskKind.Name(task).removeprefix("TASK_KIND_").replace("_", " ").lower()
        raise invalid("job", f"{trained.name} trained a model of the task {named}: call {_METHODS[task]}")
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
        raise TuneyardError(
            "JOB_STATE_CONFLICT",
            f"{job.name} is {state}: only the model of a job that succeeded can be tried",
            metadata={"state": state},
            resource=job.name,
        )
    return task


def _free_slots(link: TrainerLink) -> int:
    if link.info is None or link.info.trainer.health != system_pb2.TRAINER_HEALTH_READY:
        return -1
    return link.info.free_device_slots
