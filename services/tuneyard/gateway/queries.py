"""What is read of jobs: for users, for subscribers and for the controller. It changes nothing."""

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import events, paging, stored
from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.kinds import DERIVED_KINDS, clip_model, source_job
from tuneyard.gateway.ledger import Ledger, not_found
from tuneyard.gateway.schema import job_labels, jobs
from tuneyard.gateway.transitions import QUEUED, TERMINAL, WITH_ATTEMPT
from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.names import artifact_name, job_id, job_name
from tuneyard.v1 import event_pb2, job_pb2, training_pb2, training_service_pb2

_JOB = select(jobs.c.blob, jobs.c.state).where(jobs.c.id == bindparam("id_"))
_LAST_SEQUENCE = select(jobs.c.last_sequence).where(jobs.c.id == bindparam("id_"))
_QUEUE_ORDER = (jobs.c.priority.desc(), jobs.c.create_time, jobs.c.id)
_QUEUE = (
    select(jobs.c.blob)
    .where(jobs.c.state == QUEUED, jobs.c.family == bindparam("family_"))
    .order_by(*_QUEUE_ORDER)
)
_PLACES = (
    select(
        jobs.c.id,
        func.row_number().over(partition_by=jobs.c.family, order_by=_QUEUE_ORDER).label("place"),
    )
    .where(jobs.c.state == QUEUED)
    .subquery()
)
_PLACES_OF = select(_PLACES.c.id, _PLACES.c.place).where(_PLACES.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits for a slot."""

    job: job_pb2.Job


@dataclass(frozen=True)
class JobChange:
    """How far a job is, for a gateway that did not commit it."""

    job: str
    version: int
    last_sequence: int


class JobQueries(Ledger):
    """Reads, each of one consistent state."""

    async def get(self, name: str) -> job_pb2.Job:
        """One job with its place in the queue. JOB_NOT_FOUND."""
        async with self._db.read() as connection:
            blob = (await connection.execute(_JOB, {"id_": job_id(name)})).scalar_one_or_none()
            if blob is None:
                raise not_found(name)
            (job,) = await with_places(connection, [job_pb2.Job.FromString(blob)])
            return job

    async def list(
        self, job_filter: training_service_pb2.JobFilter, *, page_size: int, page_token: str
    ) -> tuple[Sequence[job_pb2.Job], str, int]:
        """A page of jobs, newest first, the next page's token ("" on the last) and how many match in all.

        Jobs that are created meanwhile appear on no later page, and none appears twice. INVALID_PAGE_TOKEN.
        """
        digest = paging.filter_digest("jobs", job_filter)
        place = paging.decode_token(page_token, digest)
        size = paging.page_size(page_size)
        conditions = list(_conditions(job_filter))
        # Sizes first: of jobs that no page could hold none is read.
        size_bytes = func.length(jobs.c.blob).label("size_bytes")
        query = select(jobs.c.id, jobs.c.create_time, size_bytes).where(*conditions)
        if place is not None:
            query = query.where(paging.beyond(jobs, place))
        query = query.order_by(jobs.c.create_time.desc(), jobs.c.id.desc()).limit(size + 1)
        async with self._db.read() as connection:
            rows = (await connection.execute(query)).all()
            counted = select(func.count()).select_from(jobs).where(*conditions)
            total = (await connection.execute(counted)).scalar_one()
            page = rows[: paging.fitting(row.size_bytes for row in rows[:size])]
            read = select(jobs.c.id, jobs.c.blob).where(jobs.c.id.in_([row.id for row in page]))
            blobs = {row.id: row.blob for row in await connection.execute(read)}
            found = await with_places(connection, [job_pb2.Job.FromString(blobs[row.id]) for row in page])
        more = len(rows) > len(page)
        last = paging.Place(page[-1].create_time, page[-1].id) if more else None
        return found, paging.encode_token(last, digest) if last else "", total

    async def queue(self, family: "training_pb2.Family.ValueType") -> builtins.list[QueuedJob]:
        """The jobs of a family that wait for a slot, in their turn: by priority, then age."""
        async with self._db.read() as connection:
            blobs = (await connection.execute(_QUEUE, {"family_": family})).scalars()
            return [QueuedJob(job_pb2.Job.FromString(blob)) for blob in blobs]

    async def merges(self) -> builtins.list[job_pb2.Job]:
        """All merge jobs, oldest first."""
        query = select(jobs.c.blob).where(jobs.c.kind == "merge").order_by(jobs.c.create_time, jobs.c.id)
        async with self._db.read() as connection:
            return [job_pb2.Job.FromString(blob) for blob in (await connection.execute(query)).scalars()]

    async def last_sequence(self, job_id: str) -> int:
        """The sequence of a job's newest event. JOB_NOT_FOUND."""
        async with self._db.read() as connection:
            sequence = (await connection.execute(_LAST_SEQUENCE, {"id_": job_id})).scalar_one_or_none()
        if sequence is None:
            raise not_found(job_name(job_id))
        return int(sequence)

    async def events_after(self, job_id: str, sequence: int, limit: int) -> builtins.list[tuple[int, bytes]]:
        """At most `limit` committed events beyond `sequence`, in order: each with its bytes as an entry of
        `WatchJobResponse.events`, so that joined they are a response. Empty if there is no such job."""
        async with self._db.read() as connection:
            return await events.read_after(connection, job_id, sequence, limit)

    async def listed_events(
        self, name: str, *, kinds: Sequence[str], after: int, limit: int
    ) -> tuple[builtins.list[event_pb2.JobEvent], int]:
        """A page of committed events of these kinds beyond `after`, in order, and where the next one starts.

        At most `limit` events; 0: there are no more yet. JOB_NOT_FOUND.
        """
        async with self._db.read() as connection:
            await self._require(connection, name)
            blobs, following = await events.read_page_after(
                connection, job_id(name), after, limit, kinds=kinds
            )
        return [event_pb2.JobEvent.FromString(blob) for blob in blobs], following

    async def metric_events_after(
        self, job_id: str, sequence: int, limit: int
    ) -> builtins.list[event_pb2.JobEvent]:
        """At most `limit` committed events with metrics, or what may void some, beyond `sequence`."""
        async with self._db.read() as connection:
            blobs = await events.read_metrics_after(connection, job_id, sequence, limit)
        return [event_pb2.JobEvent.FromString(blob) for blob in blobs]

    async def checkpoints(self, name: str) -> builtins.list[event_pb2.Checkpoint]:
        """All checkpoints, oldest first; those whose bytes are gone are not `available`. JOB_NOT_FOUND."""
        async with self._db.read() as connection:
            await self._require(connection, name)
            return await stored.read_checkpoints(connection, job_id(name))

    async def kept_checkpoints(self, name: str) -> builtins.list[event_pb2.Checkpoint]:
        """The checkpoints whose bytes are there, oldest first: the next attempt resumes from the last."""
        return [checkpoint for checkpoint in await self.checkpoints(name) if checkpoint.available]

    async def artifacts(self, name: str) -> builtins.list[event_pb2.Artifact]:
        """A job's artifacts by path. JOB_NOT_FOUND."""
        async with self._db.read() as connection:
            await self._require(connection, name)
            return [each.artifact for each in await stored.read_artifacts(connection, job_id(name))]

    async def artifact(self, name: str, path: str) -> tuple[event_pb2.Artifact, event_pb2.StoredFile]:
        """An artifact and its bytes' place. JOB_NOT_FOUND, ARTIFACT_NOT_FOUND."""
        identifier = job_id(name)
        async with self._db.read() as connection:
            await self._require(connection, name)
            found = await stored.read_artifacts(connection, identifier, path)
        if not found:
            raise TuneyardError(
                "ARTIFACT_NOT_FOUND",
                f"{name} has no artifact {path!r}",
                resource=artifact_name(identifier, path),
            )
        return found[0].artifact, found[0].file

    async def stored_artifacts(self, name: str) -> builtins.list[event_pb2.StoredFile]:
        """The files of a job's artifacts, by path relative to its artifacts. JOB_NOT_FOUND."""
        async with self._db.read() as connection:
            await self._require(connection, name)
            found = await stored.read_artifacts(connection, job_id(name))
        return [
            event_pb2.StoredFile(
                path=each.artifact.path,
                key=each.file.key,
                size_bytes=each.file.size_bytes,
                sha256=each.file.sha256,
            )
            for each in found
        ]

    async def keys_in_use(self, prefix: str) -> frozenset[str]:
        """The keys below a prefix of the store that a job's artifacts and available checkpoints name."""
        async with self._db.read() as connection:
            return await stored.keys_in_use(connection, prefix)

    async def uses_dataset(self, name: str) -> builtins.list[str]:
        """Names of the jobs that are not terminal and need the dataset, oldest first."""
        async with self._db.read() as connection:
            return await jobs_using_dataset(connection, name)

    async def uses_model(self, name: str) -> builtins.list[str]:
        """Names of the jobs that are not terminal and start from the model, oldest first."""
        async with self._db.read() as connection:
            return await jobs_using_model(connection, name)

    async def counts(self) -> tuple[int, int]:
        """How many jobs wait in queues, and how many have an attempt."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        async with self._db.read() as connection:
            by_state = {state: count for state, count in await connection.execute(query)}
        return by_state.get(QUEUED, 0), sum(by_state.get(state, 0) for state in WITH_ATTEMPT)

    async def changes_since(self, moment: datetime) -> builtins.list[JobChange]:
        """Jobs that were changed at or after a moment by their writer's clock, for polling other gateways."""
        query = select(jobs.c.id, jobs.c.version, jobs.c.last_sequence).where(
            jobs.c.update_time >= to_micros(moment)
        )
        async with self._db.read() as connection:
            rows = await connection.execute(query)
            return [JobChange(job_name(row.id), row.version, row.last_sequence) for row in rows]

    @staticmethod
    async def _require(connection: AsyncConnection, name: str) -> None:
        if (await connection.execute(_LAST_SEQUENCE, {"id_": job_id(name)})).one_or_none() is None:
            raise not_found(name)


async def with_places(connection: AsyncConnection, found: Sequence[job_pb2.Job]) -> Sequence[job_pb2.Job]:
    """The same jobs, those that are QUEUED with their place in their family's queue."""
    queued = {job_id(job.name): job for job in found if job.state == QUEUED}
    if queued:
        for identifier, place in await connection.execute(_PLACES_OF, {"ids": list(queued)}):
            queued[identifier].queue_position = place
    return found


async def jobs_using_dataset(connection: AsyncConnection, name: str) -> list[str]:
    """As `JobQueries.uses_dataset`, within a transaction that goes on to delete the dataset."""
    return await _names(connection, or_(jobs.c.dataset == name, jobs.c.validation_dataset == name))


async def jobs_using_model(connection: AsyncConnection, name: str) -> list[str]:
    """As `JobQueries.uses_model`, within a transaction that goes on to delete the model."""
    scored = or_(jobs.c.task == training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA, jobs.c.kind == "evaluate")
    scoring = [
        job.name
        for job in await _unfinished(connection, scored)
        if name in (clip_model(job.spec), clip_model(job.resolved_spec))
    ]
    training = await _names(connection, jobs.c.base_model == name)
    return [*training, *(job for job in scoring if job not in training)]


async def jobs_using_job(connection: AsyncConnection, name: str) -> list[str]:
    """Names of the jobs that are not terminal and work on another job's model, oldest first."""
    found = await _unfinished(connection, jobs.c.kind.in_(DERIVED_KINDS))
    return [job.name for job in found if source_job(job.spec) == name]


def in_use(reason: str, name: str, using: Sequence[str]) -> TuneyardError:
    """The error for deleting what jobs need; it names the jobs."""
    listed = ", ".join(using[:10]) + (f" and {len(using) - 10} more" if len(using) > 10 else "")
    return TuneyardError(
        reason,
        f"{name} is used by {listed}; cancel them, or wait for their end",
        metadata={"jobs": ",".join(using[:10])},
        resource=name,
    )


async def _unfinished(connection: AsyncConnection, condition: ColumnElement[bool]) -> Sequence[job_pb2.Job]:
    query = (
        select(jobs.c.blob)
        .where(condition, jobs.c.state.not_in(TERMINAL))
        .order_by(jobs.c.create_time, jobs.c.id)
    )
    return [job_pb2.Job.FromString(blob) for blob in (await connection.execute(query)).scalars()]


async def _names(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[str]:
    query: Select[Any] = (
        select(jobs.c.id)
        .where(condition, jobs.c.state.not_in(TERMINAL))
        .order_by(jobs.c.create_time, jobs.c.id)
    )
    return [job_name(identifier) for identifier in (await connection.execute(query)).scalars()]


def _conditions(wanted: training_service_pb2.JobFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.states:
        yield jobs.c.state.in_(list(wanted.states))
    if wanted.families:
        yield jobs.c.family.in_(list(wanted.families))
    if wanted.tasks:
        yield jobs.c.task.in_(list(wanted.tasks))
    if wanted.dataset:
        yield jobs.c.dataset == wanted.dataset
    for key, value in wanted.labels.items():
        yield exists().where(
            job_labels.c.job_id == jobs.c.id, job_labels.c.key == key, job_labels.c.value == value
        )
    if wanted.HasField("created_after"):
        yield jobs.c.create_time >= wanted.created_after.ToMicroseconds()
    if wanted.HasField("created_before"):
        yield jobs.c.create_time < wanted.created_before.ToMicroseconds()
