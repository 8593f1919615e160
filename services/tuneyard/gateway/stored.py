"""Records of what a job has in the object store: checkpoints and artifacts. The bytes are not read here."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import garbage
from tuneyard.gateway.layout import checkpoint_prefix, job_of
from tuneyard.gateway.records import Batch
from tuneyard.gateway.schema import artifacts, checkpoints
from tuneyard.v1 import event_pb2, job_pb2, trainer_service_pb2

_CHECKPOINTS = (
    select(checkpoints.c.best, checkpoints.c.available, checkpoints.c.blob)
    .where(checkpoints.c.job_id == bindparam("id_"))
    .order_by(checkpoints.c.attempt, checkpoints.c.step)
)
_NEWEST = (
    select(checkpoints.c.blob)
    .where(checkpoints.c.job_id == bindparam("id_"), checkpoints.c.available)
    .order_by(checkpoints.c.attempt.desc(), checkpoints.c.step.desc())
    .limit(1)
)


async def save(connection: AsyncConnection, batch: Batch) -> None:
    """Write what a batch of records stored and gave up."""
    for event in batch.checkpoints:
        await _save_checkpoint(connection, batch, event.checkpoint)
        for point in event.superseded:
            await _drop_checkpoint(connection, batch, point.attempt, point.step)
    if batch.damaged is not None:
        await _drop_checkpoint(
            connection, batch, batch.damaged.attempt, batch.damaged.step, keep_for=garbage.ATTEMPT_GRACE
        )
    for artifact in batch.artifacts:
        await _save_artifact(connection, batch, artifact)


async def _save_checkpoint(
    connection: AsyncConnection, batch: Batch, checkpoint: event_pb2.Checkpoint
) -> None:
    job_id, key = batch.edit.id, {"attempt": checkpoint.attempt, "step": checkpoint.step}
    if checkpoint.best:
        await connection.execute(
            update(checkpoints).where(checkpoints.c.job_id == job_id, checkpoints.c.best).values(best=False)
        )
    values = {"best": checkpoint.best, "available": True, "blob": checkpoint.SerializeToString()}
    before = await _checkpoint(connection, job_id, **key)
    await _replace(connection, checkpoints, {"job_id": job_id, **key}, values)
    stored = _prefixes(checkpoint)
    for prefix in stored:
        await garbage.reclaim(connection, prefix)
    if before is not None:
        await garbage.discard(connection, _prefixes(before) - stored, batch.edit.now)


async def _drop_checkpoint(
    connection: AsyncConnection, batch: Batch, attempt: int, step: int, *, keep_for: timedelta = garbage.GRACE
) -> None:
    """Give a checkpoint up: its record stays, its bytes go."""
    job_id = batch.edit.id
    dropped = await connection.execute(
        update(checkpoints)
        .where(
            checkpoints.c.job_id == job_id,
            checkpoints.c.attempt == attempt,
            checkpoints.c.step == step,
            checkpoints.c.available,
        )
        .values(available=False)
    )
    checkpoint = await _checkpoint(connection, job_id, attempt=attempt, step=step)
    if dropped.rowcount and checkpoint is not None:
        await garbage.discard(connection, _prefixes(checkpoint), batch.edit.now, keep_for=keep_for)


async def _checkpoint(
    connection: AsyncConnection, job_id: str, *, attempt: int, step: int
) -> event_pb2.Checkpoint | None:
    query = select(checkpoints.c.blob).where(
        checkpoints.c.job_id == job_id, checkpoints.c.attempt == attempt, checkpoints.c.step == step
    )
    blob = (await connection.execute(query)).scalar_one_or_none()
    return None if blob is None else event_pb2.Checkpoint.FromString(blob)


def _prefixes(checkpoint: event_pb2.Checkpoint) -> frozenset[str]:
    return frozenset(checkpoint_prefix(file.key) for file in checkpoint.files)


async def _save_artifact(
    connection: AsyncConnection, batch: Batch, stored: trainer_service_pb2.StoredArtifact
) -> None:
    key = {"job_id": batch.edit.id, "path": stored.artifact.path}
    query = select(artifacts.c.key).where(
        artifacts.c.job_id == key["job_id"], artifacts.c.path == key["path"]
    )
    before = (await connection.execute(query)).scalar_one_or_none()
    values = {"attempt": batch.attempt, "key": stored.file.key, "blob": stored.SerializeToString()}
    await _replace(connection, artifacts, key, values)
    await garbage.reclaim(connection, stored.file.key)
    if before is not None and before != stored.file.key:
        await garbage.discard(connection, [before], batch.edit.now)


async def _replace(
    connection: AsyncConnection, table: Table, key: dict[str, Any], values: dict[str, Any]
) -> None:
    """Insert a row or take the place of the one with its key. The job's lock keeps others out."""
    await connection.execute(
        delete(table).where(*(table.c[column] == value for column, value in key.items()))
    )
    await connection.execute(insert(table).values(**key, **values))


async def read_checkpoints(connection: AsyncConnection, job_id: str) -> list[event_pb2.Checkpoint]:
    """All checkpoints, oldest first, also those whose bytes are gone."""
    found = []
    for row in await connection.execute(_CHECKPOINTS, {"id_": job_id}):
        checkpoint = event_pb2.Checkpoint.FromString(row.blob)
        checkpoint.best, checkpoint.available = row.best, row.available
        found.append(checkpoint)
    return found


async def newest_checkpoint(connection: AsyncConnection, job_id: str) -> event_pb2.Checkpoint | None:
    """What the next attempt resumes from; None: it begins from scratch."""
    blob = (await connection.execute(_NEWEST, {"id_": job_id})).scalar_one_or_none()
    return None if blob is None else event_pb2.Checkpoint.FromString(blob)


async def newest_checkpoint_besides(
    connection: AsyncConnection, job_id: str, point: job_pb2.ResumePoint
) -> event_pb2.Checkpoint | None:
    """What a next attempt would resume from if the one given were gone."""
    for checkpoint in reversed(await read_checkpoints(connection, job_id)):
        if checkpoint.available and (checkpoint.attempt, checkpoint.step) != (point.attempt, point.step):
            return checkpoint
    return None


async def read_artifacts(
    connection: AsyncConnection, job_id: str, path: str | None = None
) -> list[trainer_service_pb2.StoredArtifact]:
    """A job's artifacts by path, or the one at a path."""
    query = select(artifacts.c.blob).where(artifacts.c.job_id == job_id).order_by(artifacts.c.path)
    if path is not None:
        query = query.where(artifacts.c.path == path)
    blobs = (await connection.execute(query)).scalars()
    return [trainer_service_pb2.StoredArtifact.FromString(blob) for blob in blobs]


async def keys_in_use(connection: AsyncConnection, prefix: str) -> frozenset[str]:
    """The keys below a prefix that artifacts and available checkpoints of its job name."""
    job_id = job_of(prefix)
    if job_id is None:
        return frozenset()
    query = select(artifacts.c.key).where(artifacts.c.job_id == job_id)
    keys = set((await connection.execute(query)).scalars())
    for checkpoint in await read_checkpoints(connection, job_id):
        if checkpoint.available:
            keys.update(file.key for file in checkpoint.files)
    return frozenset(key for key in keys if key.startswith(prefix))
