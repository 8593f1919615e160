"""The records of models in the store. Bytes are brought in by `model_library` and `model_uploads`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import garbage, paging
from tuneyard.gateway.clock import to_micros, utc_now
from tuneyard.gateway.db import Database
from tuneyard.gateway.part_rests import rests_prefix
from tuneyard.gateway.queries import in_use, jobs_using_model
from tuneyard.gateway.requests import RequestKey, find_resource, made_before, remember
from tuneyard.gateway.schema import models
from tuneyard.gateway.standing_models import WantedBase, standing_for
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import event_pb2, model_service_pb2, trainer_service_pb2

_FAILED = model_service_pb2.MODEL_STATE_FAILED
_UPLOADING = model_service_pb2.MODEL_STATE_UPLOADING
_ACTIVITY_EVERY: Final = timedelta(minutes=1)
_READY = (
    select(models)
    .where(models.c.state == model_service_pb2.MODEL_STATE_READY)
    .order_by(models.c.create_time.desc(), models.c.id)
)


@dataclass(frozen=True)
class ModelRecord:
    """A model with what is not public about its upload."""

    model: model_service_pb2.Model
    file: event_pb2.StoredFile
    """What is to come, while it is UPLOADING: its place in the store, its size, its announced SHA-256."""
    upload_id: str
    """The store's id of the open upload; "" once there is none."""

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def is_uploading(self) -> bool:
        return self.model.state == _UPLOADING

    @property
    def key(self) -> str:
        return self.file.key

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes

    @property
    def part_size_bytes(self) -> int:
        return self.model.upload.part_size_bytes

    @property
    def expected_sha256(self) -> str:
        return self.file.sha256


class ModelRepository:
    """Reads and writes the models' rows. Every write is one transaction."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._db = db
        self._clock = clock

    async def find_request(self, request: RequestKey | None) -> model_service_pb2.Model | None:
        """What an earlier call with the same request id made; REQUEST_ID_REUSED if its body was another."""
        name = await made_before(self._db, request)
        return await self.get(name) if name else None

    async def create(
        self,
        model: model_service_pb2.Model,
        source: trainer_service_pb2.ModelSource,
        *,
        upload_id: str = "",
        request: RequestKey | None = None,
    ) -> model_service_pb2.Model:
        """Record a new model, in the place of a failed import of its name. ALREADY_EXISTS.

        Of calls with one request id the first wins.
        """
        now = self._clock()
        model.create_time.FromDatetime(now)
        values = {
            "id": names.model_id(model.name),
            "family": model.family,
            "state": model.state,
            "create_time": to_micros(now),
            "blob": model.SerializeToString(),
            "files_blob": source.SerializeToString(),
            "upload_id": upload_id,
        }
        try:
            async with self._db.transaction() as connection:
                if request is not None:
                    if name := await find_resource(connection, request):
                        return _to_model(await self._row(connection, name))
                    await remember(connection, request, model.name, now)
                await self._forget_failed(connection, model.name)
                await connection.execute(insert(models).values(**values))
        except IntegrityError:
            if made := await self.find_request(request):
                return made
            raise already_exists(model.name) from None
        return model

    async def get(self, name: str) -> model_service_pb2.Model:
        """One model; MODEL_NOT_FOUND."""
        async with self._db.read() as connection:
            return _to_model(await self._row(connection, name))

    async def record(self, name: str) -> ModelRecord:
        """One model with what is not public about its upload; MODEL_NOT_FOUND."""
        async with self._db.read() as connection:
            return _to_record(await self._row(connection, name))

    async def upload_active(self, record: ModelRecord) -> ModelRecord:
        """Somebody works at an upload: it is not idle. Written at most once a minute."""
        now = self._clock()
        if not record.is_uploading or now - _worked_at(record.model) < _ACTIVITY_EVERY:
            return record
        async with self._db.transaction() as connection:
            current = _to_record(await self._row(connection, record.name, lock=True))
            if current.is_uploading:
                current.model.upload_time.FromDatetime(now)
                await self._set(connection, record.name, blob=current.model.SerializeToString())
        return current

    async def upload_restarted(self, lost: ModelRecord, *, upload_id: str) -> ModelRecord:
        """The store has the upload no longer: it begins again under another id, unless it has already."""
        async with self._db.transaction() as connection:
            record = _to_record(await self._row(connection, lost.name, lock=True))
            if record.upload_id != lost.upload_id:
                return record
            await self._set(connection, lost.name, upload_id=upload_id)
            return _to_record(await self._row(connection, lost.name))

    async def bytes_arrived(self, name: str, file: event_pb2.StoredFile) -> None:
        """All bytes are in the store: the model becomes, or stays, IMPORTING. MODEL_NOT_FOUND."""
        async with self._db.transaction() as connection:
            record = _to_record(await self._row(connection, name, lock=True))
            if not record.is_uploading:
                return
            model = record.model
            model.state = model_service_pb2.MODEL_STATE_IMPORTING
            model.ClearField("upload")
            model.ClearField("upload_time")
            source = trainer_service_pb2.ModelSource(name=name, architecture=model.architecture, files=[file])
            await self._set(
                connection,
                name,
                state=model.state,
                blob=model.SerializeToString(),
                files_blob=source.SerializeToString(),
                upload_id="",
            )

    async def idle_uploads(self, *, since: datetime) -> Sequence[ModelRecord]:
        """UPLOADING models at which nobody has worked since a moment, oldest first."""
        query = select(models).where(models.c.state == _UPLOADING).order_by(models.c.create_time, models.c.id)
        async with self._db.read() as connection:
            records = [_to_record(row) for row in await connection.execute(query)]
        return [record for record in records if _worked_at(record.model) < since]

    async def exists(self, name: str) -> bool:
        """Whether the name is taken: that of a failed import is free again."""
        query = select(models.c.id).where(models.c.id == names.model_id(name), models.c.state != _FAILED)
        async with self._db.read() as connection:
            return (await connection.execute(query)).one_or_none() is not None

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        """A READY model with its files; MODEL_NOT_FOUND, BASE_MODEL_UNAVAILABLE for others."""
        async with self._db.read() as connection:
            row = await self._row(connection, name)
        if row.state != model_service_pb2.MODEL_STATE_READY:
            failed = row.state == _FAILED
            told = f"failed: {_to_model(row).error}" if failed else "has not ended yet"
            raise TuneyardError("BASE_MODEL_UNAVAILABLE", f"the import of {name} {told}", resource=name)
        return trainer_service_pb2.ModelSource.FromString(row.files_blob)

    async def standing_for(self, wanted: WantedBase) -> trainer_service_pb2.ModelSource | None:
        """The READY model that jobs get that name a base outside of the store; None: there is none.

        Which that is `standing_models.standing_for` says.
        """
        async with self._db.read() as connection:
            rows = list(await connection.execute(_READY))
        found = standing_for(wanted, map(_to_model, rows))
        if found is None:
            return None
        return next(
            trainer_service_pb2.ModelSource.FromString(row.files_blob)
            for row in rows
            if names.model_name(row.id) == found.name
        )

    async def ready(self) -> Sequence[model_service_pb2.Model]:
        """All READY models, newest first."""
        async with self._db.read() as connection:
            return [_to_model(row) for row in await connection.execute(_READY)]

    async def list(
        self, *, family: int = 0, page_size: int = 0, page_token: str = ""
    ) -> tuple[Sequence[model_service_pb2.Model], str]:
        """A page, newest first, and the next page's token. INVALID_PAGE_TOKEN."""
        digest = paging.filter_digest("models", family)
        place = paging.decode_token(page_token, digest)
        size = paging.page_size(page_size)
        query = select(models)
        if family:
            query = query.where(models.c.family == family)
        if place is not None:
            query = query.where(paging.beyond(models, place))
        query = query.order_by(models.c.create_time.desc(), models.c.id.desc()).limit(size + 1)
        async with self._db.read() as connection:
            rows = (await connection.execute(query)).all()
        last = rows[size - 1] if len(rows) > size else None
        token = paging.encode_token(paging.Place(last.create_time, last.id), digest) if last else ""
        return [_to_model(row) for row in rows[:size]], token

    async def importing(self) -> Sequence[model_service_pb2.Model]:
        """All models whose import has not ended, oldest first."""
        query = (
            select(models)
            .where(models.c.state == model_service_pb2.MODEL_STATE_IMPORTING)
            .order_by(models.c.create_time, models.c.id)
        )
        async with self._db.read() as connection:
            return [_to_model(row) for row in await connection.execute(query)]

    async def files(self, name: str) -> trainer_service_pb2.ModelSource:
        """A model's files as far as they are in the store, also while it is IMPORTING; MODEL_NOT_FOUND."""
        async with self._db.read() as connection:
            return trainer_service_pb2.ModelSource.FromString((await self._row(connection, name)).files_blob)

    async def received(self, model: model_service_pb2.Model, source: trainer_service_pb2.ModelSource) -> None:
        """Record how an import stands, and the files that were received for it, unless it was deleted."""
        statement = (
            update(models)
            .where(
                models.c.id == names.model_id(model.name),
                models.c.state == model_service_pb2.MODEL_STATE_IMPORTING,
            )
            .values(blob=model.SerializeToString(), files_blob=source.SerializeToString())
        )
        async with self._db.transaction() as connection:
            if (await connection.execute(statement)).rowcount != 1:
                await garbage.discard(connection, [file.key for file in source.files], self._clock())

    async def imported(
        self,
        model: model_service_pb2.Model,
        source: trainer_service_pb2.ModelSource,
        *,
        received: Iterable[str] = (),
    ) -> None:
        """The import ended, well or not: record the model as given, unless it was deleted meanwhile.

        `received` are the keys of files that nothing needs any more.
        """
        statement = (
            update(models)
            .where(
                models.c.id == names.model_id(model.name),
                models.c.state == model_service_pb2.MODEL_STATE_IMPORTING,
            )
            .values(state=model.state, blob=model.SerializeToString(), files_blob=source.SerializeToString())
        )
        async with self._db.transaction() as connection:
            is_kept = (await connection.execute(statement)).rowcount == 1
            keys = {file.key for file in source.files}
            unneeded = set(received) - keys if is_kept else keys | set(received)
            await garbage.discard(connection, sorted(unneeded), self._clock())

    async def delete(self, name: str, *, idle_since: datetime | None = None) -> bool:
        """Forget a model and leave its bytes to the garbage collection; tell whether it was done.

        With `idle_since` only an upload at which nobody has worked since is deleted. MODEL_NOT_FOUND,
        MODEL_IN_USE.
        """
        async with self._db.transaction() as connection:
            row = await self._row(connection, name, lock=True)
            record = _to_record(row)
            if idle_since is not None and not (record.is_uploading and _worked_at(record.model) < idle_since):
                return False
            if using := await jobs_using_model(connection, name):
                raise in_use("MODEL_IN_USE", name, using)
            await connection.execute(delete_from(models).where(models.c.id == row.id))
            now = self._clock()
            if record.is_uploading:
                await garbage.discard(connection, [rests_prefix(record.key)], now)
                await garbage.discard(connection, [record.key], now, keep_for=garbage.ARRIVAL_GRACE)
                return True
            files = trainer_service_pb2.ModelSource.FromString(row.files_blob).files
            await garbage.discard(connection, [file.key for file in files], now)
            return True

    async def _set(self, connection: AsyncConnection, name: str, **columns: Any) -> None:
        await connection.execute(update(models).where(models.c.id == names.model_id(name)).values(**columns))

    async def _forget_failed(self, connection: AsyncConnection, name: str) -> None:
        taken = models.c.id == names.model_id(name), models.c.state == _FAILED
        for row in await connection.execute(select(models).where(*taken)):
            files = trainer_service_pb2.ModelSource.FromString(row.files_blob).files
            await garbage.discard(connection, [file.key for file in files], self._clock())
        await connection.execute(delete_from(models).where(*taken))

    async def _row(self, connection: AsyncConnection, name: str, *, lock: bool = False) -> Row[Any]:
        query = select(models).where(models.c.id == names.model_id(name))
        row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
        if row is None:
            raise TuneyardError("MODEL_NOT_FOUND", f"there is no {name}", resource=name)
        return row


def already_exists(name: str) -> TuneyardError:
    """The error for an id that is taken."""
    return TuneyardError("ALREADY_EXISTS", f"{name} exists already", resource=name)


def _to_model(row: Row[Any]) -> model_service_pb2.Model:
    return model_service_pb2.Model.FromString(row.blob)


def _to_record(row: Row[Any]) -> ModelRecord:
    files = trainer_service_pb2.ModelSource.FromString(row.files_blob).files
    return ModelRecord(
        model=_to_model(row),
        file=files[0] if files else event_pb2.StoredFile(),
        upload_id=row.upload_id,
    )


def _worked_at(model: model_service_pb2.Model) -> datetime:
    """When somebody last worked at an upload."""
    time = model.upload_time if model.HasField("upload_time") else model.create_time
    return time.ToDatetime(UTC)
