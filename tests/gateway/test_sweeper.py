"""What is deleted from the store, and what is not. On SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.datasets import DatasetRecord, DatasetRepository
from tuneyard.gateway.garbage import ATTEMPT_GRACE, GarbageRepository, discard
from tuneyard.gateway.model_uploads import ModelUploads
from tuneyard.gateway.models import ModelRepository
from tuneyard.gateway.sweeper import Sweeper
from tuneyard.gateway.uploads import DatasetUploads
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, UploadNotFound
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, model_service_pb2


class CountingStore(FolderStore):
    """A folder store that counts how often it is swept."""

    sweeps = 0

    def sweep(self, *, older_than: timedelta) -> int:
        self.sweeps += 1
        return super().sweep(older_than=older_than)


class Yard:
    """A sweeper, and short ways to store bytes with and without a record of them."""

    def __init__(self, ledger: LedgerDriver, store: CountingStore) -> None:
        self.ledger = ledger
        self.store = store
        self.datasets = DatasetRepository(ledger.db, clock=ledger.clock)
        self.uploads = DatasetUploads(self.datasets, store, on_arrival=lambda: None, clock=ledger.clock)
        self.sweep_uploads_of(self.uploads)

    def sweep_uploads_of(self, uploads: DatasetUploads | ModelUploads) -> None:
        self.sweeper = Sweeper(
            garbage=GarbageRepository(self.ledger.db),
            jobs=self.ledger.jobs,
            store=self.store,
            uploads=[uploads],
            is_leader=lambda: True,
            clock=self.ledger.clock,
        )

    def put(self, name: str, attempt: int, path: str) -> str:
        key = f"{name}/attempts/{attempt}/{path}"
        self.store.put(key, b"bytes")
        return key

    async def save_checkpoint(self, name: str, attempt: int, step: int, *superseded: int) -> str:
        key = self.put(name, attempt, f"checkpoints/{step:010d}/weights")
        event = event_pb2.CheckpointEvent(
            checkpoint=event_pb2.Checkpoint(step=step, files=[event_pb2.StoredFile(path="weights", key=key)]),
            superseded=[job_pb2.ResumePoint(attempt=attempt, step=old) for old in superseded],
        )
        await self.ledger.write(name, attempt, {"checkpoint": event})
        return key

    async def save_artifact(self, name: str, attempt: int, path: str) -> str:
        key = self.put(name, attempt, f"artifacts/{path}")
        await self.ledger.write(name, attempt, self.ledger.artifact(path, key=key))
        return key

    async def begin_upload(self, name: str) -> DatasetRecord:
        dataset = dataset_pb2.Dataset(name=name, size_bytes=5)
        await self.uploads.create(dataset, key=f"{name}/data", sha256="", request=None)
        return await self.datasets.record(name)

    async def sweep_after(self, time: timedelta) -> list[str]:
        """The keys that are left."""
        self.ledger.clock.advance(time)
        await self.sweeper.sweep()
        return [each.key for each in self.store.list("")]


async def arriving(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
def yard(ledger: LedgerDriver, tmp_path: Path) -> Yard:
    return Yard(ledger, CountingStore(tmp_path / "store", public_url="http://x"))


async def test_a_day_after_an_attempt_goes_what_it_stored_and_did_not_record(yard: Yard) -> None:
    name, attempt = await yard.ledger.running()
    kept = [await yard.save_artifact(name, attempt, "a"), await yard.save_checkpoint(name, attempt, 10)]
    debris = [yard.put(name, attempt, path) for path in ("artifacts/b", "checkpoints/0000000020/weights")]
    await yard.ledger.lose(name, attempt)
    assert await yard.sweep_after(ATTEMPT_GRACE - timedelta(hours=1)) == sorted(kept + debris)
    assert await yard.sweep_after(timedelta(hours=2)) == sorted(kept)
    assert await yard.sweep_after(timedelta(days=30)) == sorted(kept)


async def test_what_an_attempt_at_work_stored_is_left_alone(yard: Yard) -> None:
    name, first = await yard.ledger.running()
    await yard.ledger.lose(name, first)
    stored = yard.put(name, await yard.ledger.open(name), "artifacts/a")
    assert await yard.sweep_after(timedelta(days=9)) == [stored]


async def test_a_sweep_keeps_to_the_attempt_whose_number_it_was_given(yard: Yard) -> None:
    name, first = await yard.ledger.running()
    await yard.ledger.lose(name, first)
    other = yard.put(name, 10, "artifacts/a")
    assert await yard.sweep_after(timedelta(days=2)) == [other]


async def test_a_superseded_checkpoint_is_gone_a_minute_later(yard: Yard) -> None:
    name, attempt = await yard.ledger.running()
    await yard.save_checkpoint(name, attempt, 1)
    newer = await yard.save_checkpoint(name, attempt, 2, 1)
    assert await yard.sweep_after(timedelta(minutes=2)) == [newer]


async def test_a_deleted_job_loses_everything(yard: Yard) -> None:
    name, attempt = await yard.ledger.running()
    await yard.save_artifact(name, attempt, "a")
    yard.put(name, attempt, "artifacts/b")
    await yard.ledger.write(name, attempt, yard.ledger.result())
    await yard.ledger.jobs.delete(name)
    assert await yard.sweep_after(timedelta(minutes=2)) == []
    assert await yard.sweep_after(timedelta(days=2)) == []


async def test_an_attempt_that_was_refused_is_no_garbage(yard: Yard) -> None:
    name = await yard.ledger.create()
    await yard.ledger.jobs.withdraw_attempt(yard.ledger.epoch, name, await yard.ledger.open(name))
    yard.ledger.clock.advance(timedelta(days=2))
    assert await GarbageRepository(yard.ledger.db).due(yard.ledger.clock()) == []


@pytest.mark.parametrize("end", ["result", "paused", "cancelled"])
async def test_every_end_of_an_attempt_leaves_its_prefix_to_the_sweeper(yard: Yard, end: str) -> None:
    name, attempt = await yard.ledger.running()
    yard.put(name, attempt, "artifacts/a")
    await yard.ledger.write(name, attempt, getattr(yard.ledger, end)())
    assert await yard.sweep_after(timedelta(days=2)) == []


async def test_the_whole_store_is_looked_through_once_an_hour(yard: Yard) -> None:
    for time in (timedelta(), timedelta(minutes=30), timedelta(minutes=31)):
        await yard.sweep_after(time)
    assert yard.store.sweeps == 2


async def test_a_prefix_of_no_job_is_emptied_whole(yard: Yard) -> None:
    yard.store.put("models/m/1/weights", b"bytes")
    async with yard.ledger.db.transaction() as connection:
        await discard(connection, ["models/m/1/"], yard.ledger.clock())
    assert await yard.sweep_after(timedelta(minutes=2)) == []


async def test_an_upload_that_nobody_works_at_is_deleted_with_its_parts_after_a_week(yard: Yard) -> None:
    record = await yard.begin_upload("datasets/idle")
    await yard.sweep_after(timedelta(days=6))
    assert yard.store.list_parts(record.key, record.upload_id) == []
    await yard.sweep_after(timedelta(days=2))
    with pytest.raises(UploadNotFound):
        yard.store.list_parts(record.key, record.upload_id)
    with pytest.raises(TuneyardError, match="DATASET_NOT_FOUND"):
        await yard.datasets.get("datasets/idle")


async def test_an_upload_of_a_model_goes_the_same_way(yard: Yard) -> None:
    models = ModelRepository(yard.ledger.db, clock=yard.ledger.clock)
    uploads = ModelUploads(models, yard.store, on_arrival=lambda: None, clock=yard.ledger.clock)
    yard.sweep_uploads_of(uploads)
    for name in ("models/idle", "models/busy"):
        file = event_pb2.StoredFile(path="w.pt", key=f"{name}/1/received/w.pt", size_bytes=9)
        await uploads.create(model_service_pb2.Model(name=name), file, request=None)
    for turn in range(3):
        await uploads.receive("models/busy", offset=turn, chunks=arriving(b"1"))
        await yard.sweep_after(timedelta(days=6))
    assert (await models.get("models/busy")).state == model_service_pb2.MODEL_STATE_UPLOADING
    with pytest.raises(TuneyardError, match="MODEL_NOT_FOUND"):
        await models.get("models/idle")


@pytest.mark.parametrize("work", ["sign", "receive"])
async def test_an_upload_that_somebody_works_at_is_kept(yard: Yard, work: str) -> None:
    await yard.begin_upload("datasets/busy")
    for turn in range(3):
        if work == "sign":
            await yard.uploads.sign("datasets/busy", [1])
        else:
            await yard.uploads.receive("datasets/busy", offset=turn, chunks=arriving(b"1"))
        await yard.sweep_after(timedelta(days=6))
    assert (await yard.datasets.get("datasets/busy")).state == dataset_pb2.DATASET_STATE_UPLOADING


@pytest.mark.parametrize("arrival", ["import", "upload"])
async def test_bytes_that_arrive_after_their_dataset_was_deleted_go_too(yard: Yard, arrival: str) -> None:
    name, key = "datasets/late", "datasets/late/data"
    if arrival == "import":
        dataset = dataset_pb2.Dataset(name=name, state=dataset_pb2.DATASET_STATE_VALIDATING)
        await yard.datasets.create(dataset, key=key, source="/imports/large")
    else:
        await yard.begin_upload(name)
    await yard.datasets.delete(name)
    await yard.sweep_after(timedelta(minutes=5))
    yard.store.put(key, b"what a thread went on to write")
    assert await yard.sweep_after(timedelta(days=1)) == []


async def test_the_beginning_of_a_part_goes_with_its_upload(yard: Yard) -> None:
    await yard.begin_upload("datasets/begun")
    await yard.uploads.receive("datasets/begun", offset=0, chunks=arriving(b"12"))
    assert len(list(yard.store.list("datasets/begun/"))) == 1
    await yard.datasets.delete("datasets/begun")
    assert await yard.sweep_after(timedelta(minutes=2)) == []


async def test_activity_is_written_once_a_minute(yard: Yard) -> None:
    record = await yard.begin_upload("datasets/busy")
    first = await yard.datasets.upload_active(record)
    yard.ledger.clock.advance(timedelta(minutes=2))
    later = await yard.datasets.upload_active(first)
    times = [each.dataset.update_time.ToMicroseconds() for each in (record, first, later)]
    assert times[0] == times[1] < times[2]


async def test_what_is_no_longer_an_upload_is_not_deleted_as_one(yard: Yard) -> None:
    record = await yard.begin_upload("datasets/done")
    await yard.uploads.receive("datasets/done", offset=0, chunks=arriving(b"12345"))
    yard.ledger.clock.advance(timedelta(days=9))
    assert not await yard.datasets.delete("datasets/done", idle_since=yard.ledger.clock())
    await yard.sweep_after(timedelta(days=9))
    assert yard.store.stat(record.key).size_bytes == 5
