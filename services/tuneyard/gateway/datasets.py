"""The records of datasets. Bytes are moved by `uploads` and `imports`, and judged by `validation`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import garbage, paging
from tuneyard.gateway.clock import to_micros, utc_now
from tuneyard.gateway.db import Database
from tuneyard.gateway.part_rests import rests_prefix
from tuneyard.gateway.queries import in_use, jobs_using_dataset
from tuneyard.gateway.requests import RequestKey, find_resource, made_before, remember
from tuneyard.gateway.schema import datasets
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import dataset_pb2, trainer_service_pb2

_ACTIVITY_EVERY: Final = timedelta(minutes=1)
_LIST_METHOD = "ListDatasets"


@dataclass(frozen=True)
class DatasetRecord:
    """A dataset with what is not public about it."""

    dataset: dataset_pb2.Dataset
    """With its report."""
    key: str
    """Where its bytes lie, or will lie, in the object store."""
    expected_sha256: str
    """The announced SHA-256 while it is uploaded, then that of the bytes; "" if none was announced."""
    upload_id: str
    """The store's id of the open upload; "" once there is none."""
    source: str
    """What is still to be copied for an import; "" otherwise."""

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def is_uploading(self) -> bool:
        return self.dataset.state == dataset_pb2.DATASET_STATE_UPLOADING

    @property
    def size_bytes(self) -> int:
        return self.dataset.size_bytes

    @property
    def part_size_bytes(self) -> int:
        return self.dataset.upload.part_size_bytes


# An import's source stands in the column of upload ids, behind a word that begins no upload id.
_IMPORT = "import:"


class DatasetRepository:
    """Reads and writes the datasets' rows. Every write is one transaction."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._db = db
        self._clock = clock

    async def find_request(self, request: RequestKey | None) -> dataset_pb2.Dataset | None:
        """What an earlier call with the same request id made; REQUEST_ID_REUSED if its body was another."""
        name = await made_before(self._db, request)
        return await self.get(name) if name else None

    async def create(
        self,
        dataset: dataset_pb2.Dataset,
        *,
        key: str,
        sha256: str = "",
        upload_id: str = "",
        source: str = "",
        request: RequestKey | None = None,
    ) -> dataset_pb2.Dataset:
        """Record a new dataset; of calls with one request id the first wins. ALREADY_EXISTS.

        A version shares its parent's key: DATASET_NOT_FOUND where the parent is gone meanwhile.
        """
        now = self._clock()
        dataset.create_time.FromDatetime(now)
        dataset.update_time.FromDatetime(now)
        values = {
            "id": names.dataset_id(dataset.name),
            "state": dataset.state,
            "format": dataset.format,
            "key": key,
            "size": dataset.size_bytes,
            "sha256": sha256,
            "upload_id": f"{_IMPORT}{source}" if source else upload_id,
            "create_time": to_micros(now),
            "blob": dataset.SerializeToString(),
            "report_blob": b"",
        }
        try:
            async with self._db.transaction() as connection:
                if request is not None:
                    if name := await find_resource(connection, request):
                        return (await self._record(connection, name)).dataset
                    await remember(connection, request, dataset.name, now)
                if dataset.parent:
                    # Whoever deletes the parent now finds that its bytes are still used.
                    await self._record(connection, dataset.parent, lock=True)
                await connection.execute(insert(datasets).values(**values))
        except IntegrityError:
            # A call with the same request id may have been faster: then what it made is the answer.
            if made := await self.find_request(request):
                return made
            raise TuneyardError(
                "ALREADY_EXISTS", f"{dataset.name} exists already", resource=dataset.name
            ) from None
        return dataset

    async def get(self, name: str) -> dataset_pb2.Dataset:
        """One dataset with its report; DATASET_NOT_FOUND."""
        return (await self.record(name)).dataset

    async def record(self, name: str) -> DatasetRecord:
        """One dataset with what is not public about it; DATASET_NOT_FOUND."""
        async with self._db.read() as connection:
            return await self._record(connection, name)

    async def source(self, name: str) -> trainer_service_pb2.DatasetSource:
        """A READY dataset as a run needs it; DATASET_NOT_FOUND, DATASET_NOT_READY."""
        record = await self.record(name)
        dataset = record.dataset
        if dataset.state != dataset_pb2.DATASET_STATE_READY:
            raise TuneyardError("DATASET_NOT_READY", f"{name} is not ready", resource=name)
        dataset.report.ClearField("findings")
        return trainer_service_pb2.DatasetSource(
            name=name,
            format=dataset.format,
            key=record.key,
            sha256=dataset.sha256,
            size_bytes=dataset.size_bytes,
            report=dataset.report,
            file_name=dataset.file_name,
        )

    async def list(
        self, *, format: int = 0, page_size: int = 0, page_token: str = ""
    ) -> tuple[Sequence[DatasetRecord], str, int]:
        """A page, newest first and without lists of findings and files, the next page's token, and how many
        match in all.
        """
        digest = paging.filter_digest(_LIST_METHOD, format)
        place = paging.decode_token(page_token, digest)
        size = paging.page_size(page_size)
        matching = [datasets.c.format == format] if format else []
        query = select(datasets).where(*matching)
        if place is not None:
            query = query.where(paging.beyond(datasets, place))
        query = query.order_by(datasets.c.create_time.desc(), datasets.c.id.desc()).limit(size + 1)
        count = select(func.count()).select_from(datasets).where(*matching)
        async with self._db.read() as connection:
            rows = (await connection.execute(query)).all()
            total = (await connection.execute(count)).scalar_one()
        records = [_to_record(row) for row in rows[:size]]
        for record in records:
            _clear_lists(record.dataset)
        records = records[: paging.fitting(record.dataset.ByteSize() for record in records)]
        last = rows[len(records) - 1] if len(rows) > len(records) else None
        token = paging.encode_token(paging.Place(last.create_time, last.id), digest) if last else ""
        return records, token, total

    async def upload_active(self, record: DatasetRecord) -> DatasetRecord:
        """Somebody works at an upload: it is not idle. Written at most once a minute."""
        if self._clock() - _updated(record.dataset) < _ACTIVITY_EVERY:
            return record
        await self._edit(
            record.dataset.name, lambda dataset: None, states=(dataset_pb2.DATASET_STATE_UPLOADING,)
        )
        return await self.record(record.dataset.name)

    async def idle_uploads(self, *, since: datetime) -> Sequence[DatasetRecord]:
        """UPLOADING datasets at which nobody has worked since a moment, oldest first."""
        uploading = await self._in_state(dataset_pb2.DATASET_STATE_UPLOADING)
        return [record for record in uploading if _is_idle(record.dataset, since)]

    async def validating(self) -> Sequence[DatasetRecord]:
        """All datasets whose validation has not ended, oldest first."""
        return await self._in_state(dataset_pb2.DATASET_STATE_VALIDATING)

    async def bytes_arrived(self, name: str, *, size_bytes: int, sha256: str) -> dataset_pb2.Dataset:
        """All bytes are in the store: the dataset becomes, or stays, VALIDATING."""

        def edit(dataset: dataset_pb2.Dataset) -> None:
            dataset.state = dataset_pb2.DATASET_STATE_VALIDATING
            dataset.size_bytes = size_bytes
            dataset.sha256 = sha256
            dataset.ClearField("upload")

        unsettled = (dataset_pb2.DATASET_STATE_UPLOADING, dataset_pb2.DATASET_STATE_VALIDATING)
        return await self._edit(name, edit, states=unsettled, upload_id="", sha256=sha256, size=size_bytes)

    async def upload_restarted(self, lost: DatasetRecord, *, upload_id: str) -> DatasetRecord:
        """The store has the upload no longer: it begins again under another id, unless it has already."""
        name = lost.dataset.name
        async with self._db.transaction() as connection:
            record = await self._record(connection, name, lock=True)
            if record.upload_id != lost.upload_id:
                return record
            statement = update(datasets).where(datasets.c.id == names.dataset_id(name))
            await connection.execute(statement.values(upload_id=upload_id))
            return await self._record(connection, name)

    async def validation_moved(self, name: str, progress: float) -> None:
        """The validation has come so far, from 0 to 1."""

        def edit(dataset: dataset_pb2.Dataset) -> None:
            dataset.validation_progress = progress

        await self._edit(name, edit, states=(dataset_pb2.DATASET_STATE_VALIDATING,), is_change=False)

    async def validated(self, name: str, report: dataset_pb2.ValidationReport) -> dataset_pb2.Dataset:
        """The validation ended: the dataset becomes READY, or INVALID where the report has an error."""
        is_bad = any(finding.severity == dataset_pb2.SEVERITY_ERROR for finding in report.findings)

        def edit(dataset: dataset_pb2.Dataset) -> None:
            dataset.state = dataset_pb2.DATASET_STATE_INVALID if is_bad else dataset_pb2.DATASET_STATE_READY
            dataset.validation_progress = 0

        return await self._edit(
            name,
            edit,
            states=(dataset_pb2.DATASET_STATE_VALIDATING,),
            upload_id="",
            report_blob=report.SerializeToString(),
        )

    async def delete(self, name: str, *, idle_since: datetime | None = None) -> bool:
        """Forget a dataset and leave its bytes to the garbage collection; tell whether it was done.

        Bytes that a version shares stay.
        With `idle_since` only an upload at which nobody has worked since is deleted. DATASET_NOT_FOUND;
        DATASET_IN_USE while a job that waits or runs uses it.
        """
        async with self._db.transaction() as connection:
            # The rows that share the bytes are locked together and in one order, so that no two calls, each
            # deleting one of them, leave the bytes to the other or wait for each other.
            await self._lock_sharing(connection, (await self._record(connection, name)).key)
            record = await self._record(connection, name)
            if idle_since is not None and not _is_idle(record.dataset, idle_since):
                return False
            if using := await jobs_using_dataset(connection, name):
                raise in_use("DATASET_IN_USE", name, using)
            await connection.execute(delete_from(datasets).where(datasets.c.id == names.dataset_id(name)))
            # Counted now: a version that was made while this call waited for the locks is not among them.
            sharing = select(func.count()).select_from(datasets).where(datasets.c.key == record.key)
            if not (await connection.execute(sharing)).scalar_one():
                await self._discard(connection, record)
            return True

    async def _discard(self, connection: AsyncConnection, record: DatasetRecord) -> None:
        now = self._clock()
        await garbage.discard(connection, [rests_prefix(record.key)], now)
        is_arriving = record.source or record.upload_id
        keep_for = garbage.ARRIVAL_GRACE if is_arriving else garbage.GRACE
        await garbage.discard(connection, [record.key], now, keep_for=keep_for)

    async def _lock_sharing(self, connection: AsyncConnection, key: str) -> None:
        """Keep others from deleting datasets that have these bytes, and from making versions of them."""
        query = select(datasets.c.id).where(datasets.c.key == key).order_by(datasets.c.id).with_for_update()
        await connection.execute(query)

    async def _in_state(self, state: int) -> Sequence[DatasetRecord]:
        query = (
            select(datasets).where(datasets.c.state == state).order_by(datasets.c.create_time, datasets.c.id)
        )
        async with self._db.read() as connection:
            return [_to_record(row) for row in await connection.execute(query)]

    async def _edit(
        self,
        name: str,
        edit: Callable[[dataset_pb2.Dataset], None],
        *,
        states: Sequence[int],
        is_change: bool = True,
        **columns: Any,
    ) -> dataset_pb2.Dataset:
        """Change a dataset where its state is one of `states`; else leave it. Return it as it is now."""
        async with self._db.transaction() as connection:
            record = await self._record(connection, name, lock=True)
            dataset = record.dataset
            if dataset.state not in states:
                return dataset
            stored = dataset_pb2.Dataset()
            stored.CopyFrom(dataset)
            stored.ClearField("report")
            edit(stored)
            if is_change:
                stored.update_time.FromDatetime(self._clock())
            columns |= {"state": stored.state, "blob": stored.SerializeToString()}
            statement = update(datasets).where(datasets.c.id == names.dataset_id(name))
            await connection.execute(statement.values(**columns))
            return (await self._record(connection, name)).dataset

    async def _record(self, connection: AsyncConnection, name: str, *, lock: bool = False) -> DatasetRecord:
        query = select(datasets).where(datasets.c.id == names.dataset_id(name))
        row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
        if row is None:
            raise _not_found(name)
        return _to_record(row)


def _to_record(row: Row[Any]) -> DatasetRecord:
    dataset = dataset_pb2.Dataset.FromString(row.blob)
    if row.report_blob:
        dataset.report.ParseFromString(row.report_blob)
    is_import = row.upload_id.startswith(_IMPORT)
    return DatasetRecord(
        dataset=dataset,
        key=row.key,
        expected_sha256=row.sha256,
        upload_id="" if is_import else row.upload_id,
        source=row.upload_id.removeprefix(_IMPORT) if is_import else "",
    )


def _clear_lists(dataset: dataset_pb2.Dataset) -> None:
    # Clearing a field of a message that is not set would set the message.
    if dataset.HasField("report"):
        dataset.report.ClearField("findings")
        dataset.report.ClearField("excluded")
        dataset.report.ClearField("groups")
    if dataset.HasField("exclusion"):
        dataset.exclusion.ClearField("paths")


def _updated(dataset: dataset_pb2.Dataset) -> datetime:
    return dataset.update_time.ToDatetime(UTC)


def _is_idle(dataset: dataset_pb2.Dataset, since: datetime) -> bool:
    return dataset.state == dataset_pb2.DATASET_STATE_UPLOADING and _updated(dataset) < since


def _not_found(name: str) -> TuneyardError:
    return TuneyardError("DATASET_NOT_FOUND", f"there is no {name}", resource=name)
