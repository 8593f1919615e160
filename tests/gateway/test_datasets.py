"""The records of datasets where calls meet. On SQLite and on PostgreSQL."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.dataset_library import DatasetLibrary
from tuneyard.gateway.datasets import DatasetRepository
from tuneyard.gateway.db import Database
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.uploads import DatasetUploads
from tuneyard.storage import FolderStore
from tuneyard.v1 import dataset_pb2, dataset_service_pb2

READY = dataset_pb2.DATASET_STATE_READY
KEY = "datasets/parent/1/data"


def dataset(name: str, *, parent: str = "") -> dataset_pb2.Dataset:
    return dataset_pb2.Dataset(name=f"datasets/{name}", state=READY, parent=parent)


async def somebody_waits(db: Database) -> None:
    """Until a transaction waits for a row of another. On SQLite whole transactions wait their turn."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(60):
        while db.dialect == "postgresql":
            async with db.read() as connection:
                if (await connection.execute(query)).scalar_one():
                    return
            await asyncio.sleep(0.01)


async def test_a_list_goes_on_though_an_upload_is_deleted_meanwhile(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, store = DatasetRepository(db), FolderStore(tmp_path / "store", public_url="")
    uploads = DatasetUploads(datasets, store, on_arrival=lambda: None)
    library: Any = DatasetLibrary(
        repository=datasets,
        uploads=uploads,
        sources=None,  # type: ignore[arg-type]
        validator=None,  # type: ignore[arg-type]
        new_id=lambda: "1",
    )
    for name in ("datasets/goes", "datasets/stays"):
        new = dataset_pb2.Dataset(name=name, size_bytes=5)
        await uploads.create(new, key=f"{name}/data", sha256="", request=None)
    read = datasets.list

    async def read_and_delete(**page: Any) -> Any:
        found = await read(**page)
        await datasets.delete("datasets/goes")
        return found

    monkeypatch.setattr(datasets, "list", read_and_delete)
    listed = (await library.list(dataset_service_pb2.ListDatasetsRequest())).datasets
    assert [each.name for each in listed] == ["datasets/stays"]


async def test_a_parent_deleted_while_a_version_of_it_is_made_leaves_its_bytes(db: Database) -> None:
    datasets = DatasetRepository(db)
    await datasets.create(dataset("parent"), key=KEY)
    making = DatasetRepository(db)
    has_locked, goes_on = asyncio.Event(), asyncio.Event()
    read = making._record

    async def slowly(connection: object, name: str, *, lock: bool = False) -> object:
        found = await read(connection, name, lock=lock)  # type: ignore[arg-type]
        has_locked.set()
        await goes_on.wait()
        return found

    making._record = slowly  # type: ignore[method-assign, assignment]
    version = dataset("version", parent="datasets/parent")
    made = asyncio.create_task(making.create(version, key=KEY))
    await has_locked.wait()
    deleted = asyncio.create_task(datasets.delete("datasets/parent"))
    await somebody_waits(db)
    goes_on.set()
    await asyncio.gather(made, deleted)
    due = await GarbageRepository(db).due(utc_now() + timedelta(days=1))
    assert due == []
    await datasets.delete("datasets/version")
    assert KEY in await GarbageRepository(db).due(utc_now() + timedelta(days=1))
