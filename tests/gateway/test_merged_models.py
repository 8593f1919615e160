"""Where merged models go: names of the store and folders, reserved first and filled at the end."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.intake import JobIntake
from tuneyard.gateway.merged_models import MARK, MergedModels, Output, output_of
from tuneyard.gateway.models import ModelRepository
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.trainers import TrainerLink
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, ObjectInfo
from tuneyard.v1 import job_pb2, model_service_pb2, training_pb2, training_service_pb2

CONTENT = b"weights"


class CountingStore(FolderStore):
    """A folder store that counts how often a file is fetched, and may be made to wait with that."""

    fetched = 0
    waits, may_fetch = threading.Event(), threading.Event()

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        type(self).fetched += 1
        self.waits.set()
        assert self.may_fetch.wait(60)
        return super().get_file(key, path)


class Place:
    """A gateway's part for merged models, on a folder store."""

    leads = True

    def __init__(self, ledger: LedgerDriver, root: Path) -> None:
        self.ledger = ledger
        self.models = ModelRepository(ledger.db)
        self.store = CountingStore(root / "store", public_url="")
        self.allowed = root / "allowed"
        self.allowed.mkdir(exist_ok=True)
        sources = ImportSources(self.store, store_url=str(root / "store"), roots=[self.allowed])
        self.merged = MergedModels(
            jobs=ledger.jobs,
            models=self.models,
            store=self.store,
            sources=sources,
            is_leader=lambda: self.leads,
        )

    async def accepted(self, path: str) -> job_pb2.Job:
        spec = job_pb2.MergeSpec(source_job="jobs/1", output_path=path)
        await self.merged.check(spec)
        job = job_pb2.Job(spec=job_pb2.JobSpec(merge=spec), family=training_pb2.FAMILY_LLM)
        created = await self.ledger.jobs.create(job)
        await self.merged.reserve(created)
        return created

    async def succeed(self, name: str) -> None:
        attempt = await self.ledger.open(name)
        key = f"{name}/attempts/{attempt}/artifacts/model/model.safetensors"
        self.store.put(key, CONTENT)
        artifact = self.ledger.artifact("model/model.safetensors", key=key)
        other = self.ledger.artifact("manifest.json", key=f"{name}/manifest.json")
        result = self.ledger.result()
        await self.ledger.write(name, attempt, self.ledger.started(), artifact, other, result)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.merged.run())
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def place(ledger: LedgerDriver, tmp_path: Path) -> Place:
    CountingStore.fetched = 0
    CountingStore.waits.clear()
    CountingStore.may_fetch.set()
    return Place(ledger, tmp_path)


async def reason(place: Place, path: str, *, told: str | None = None) -> str:
    with pytest.raises(TuneyardError, match=told) as refused:
        await place.accepted(path)
    return refused.value.reason


async def gone(path: Path) -> None:
    async with asyncio.timeout(30):
        while path.exists():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["models/merged", "/models/merged", "merged"])
def test_names_of_the_store_come_before_folders(path: str) -> None:
    assert output_of(path) == Output(model="models/merged")


def test_what_is_neither_a_name_nor_a_path_is_refused() -> None:
    assert output_of("/srv/models/merged") == Output(folder="/srv/models/merged")
    for path in ("a/b", "../x", "/", "models/", "models/a/b"):
        with pytest.raises(TuneyardError):
            output_of(path)


async def test_a_name_is_taken_from_the_beginning(place: Place) -> None:
    job = await place.accepted("models/merged")
    model = await place.models.get("models/merged")
    assert (model.state, model.source) == (model_service_pb2.MODEL_STATE_IMPORTING, job.name)
    assert await reason(place, "/models/merged") == "ALREADY_EXISTS"
    await place.merged.reserve(job)


class Nobody:
    """No trainer is asked for anything."""

    def links_of(self, family: int) -> list[TrainerLink]:
        return []


class Resolved:
    """Every spec is resolved as it is."""

    async def resolve(self, family: int, spec: job_pb2.JobSpec, *, within: timedelta) -> job_pb2.Estimate:
        return job_pb2.Estimate(resolved_spec=spec, fits=True)


async def test_a_name_is_taken_though_the_caller_leaves_when_its_job_is_there(place: Place) -> None:
    intake: Any = JobIntake(
        db=place.ledger.db,
        jobs=place.ledger.jobs,
        resolver=Resolved(),  # type: ignore[arg-type]
        datasets=None,  # type: ignore[arg-type]
        trainers=Nobody(),  # type: ignore[arg-type]
        merged=place.merged,
        on_change=lambda: None,
    )
    spec = job_pb2.MergeSpec(source_job=await place.ledger.create(), output_path="models/merged")
    request = training_service_pb2.MergeRequest(spec=spec)
    call = asyncio.create_task(intake.derive(job_pb2.JobSpec(merge=spec), request, None))
    place.ledger.listeners.append(lambda committed: call.cancel() and None)
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(60):
        while not await place.models.exists("models/merged"):
            await asyncio.sleep(0.02)


async def test_the_models_files_are_there_once_the_job_has_succeeded(place: Place) -> None:
    job = await place.accepted("models/merged")
    model = await place.models.get("models/merged")
    with pytest.raises(TuneyardError, match="has not ended"):
        await place.merged.merged(model)
    await place.succeed(job.name)
    source = await place.merged.merged(model)
    assert [file.path for file in source.files] == ["model.safetensors"]


async def test_a_name_is_free_again_when_the_job_made_nothing(place: Place) -> None:
    job = await place.accepted("models/merged")
    await place.ledger.jobs.request_cancel(job.name)
    with pytest.raises(TuneyardError) as refused:
        await place.merged.merged(await place.models.get("models/merged"))
    assert refused.value.reason == "MODEL_NOT_FOUND"
    await place.accepted("models/merged")


async def test_a_job_that_was_accepted_without_its_name_gets_it_after_a_restart(place: Place) -> None:
    spec = job_pb2.MergeSpec(source_job="jobs/1", output_path="models/merged")
    created = await place.ledger.jobs.create(job_pb2.Job(spec=job_pb2.JobSpec(merge=spec)))
    async with place.working():
        async with asyncio.timeout(30):
            while not await place.models.exists("models/merged"):
                await asyncio.sleep(0.02)
    assert (await place.models.get("models/merged")).source == created.name


async def test_a_folder_gets_the_model_when_the_job_has_succeeded(place: Place) -> None:
    folder = place.allowed / "merged"
    job = await place.accepted(str(folder))
    assert (folder / MARK).read_text() == job.name
    async with place.working():
        await place.succeed(job.name)
        await gone(folder / MARK)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"model.safetensors": CONTENT}


async def test_a_folder_is_filled_after_a_restart(place: Place, tmp_path: Path) -> None:
    folder = place.allowed / "merged"
    job = await place.accepted(str(folder))
    await place.succeed(job.name)
    again = Place(place.ledger, tmp_path)
    async with again.working():
        await gone(folder / MARK)
    assert (folder / "model.safetensors").read_bytes() == CONTENT


async def test_of_two_gateways_of_a_machine_one_fills_a_folder(place: Place, tmp_path: Path) -> None:
    folder = place.allowed / "merged"
    job = await place.accepted(str(folder))
    await place.succeed(job.name)
    CountingStore.may_fetch.clear()
    other = Place(place.ledger, tmp_path)
    async with asyncio.timeout(60), place.working():
        await asyncio.to_thread(CountingStore.waits.wait, 60)
        async with other.working():
            while job.name not in other.merged.pending:
                await asyncio.sleep(0.02)
            CountingStore.may_fetch.set()
            while place.merged.pending or other.merged.pending:
                await asyncio.sleep(0.02)
    assert CountingStore.fetched == 1
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


async def test_a_gateway_that_does_not_lead_makes_no_folder_for_another(place: Place, tmp_path: Path) -> None:
    folder = place.allowed / "merged"
    spec = job_pb2.MergeSpec(source_job="jobs/1", output_path=str(folder))
    await place.ledger.jobs.create(job_pb2.Job(spec=job_pb2.JobSpec(merge=spec)))
    other = Place(place.ledger, tmp_path)
    other.leads = place.leads = False
    marked = place.allowed / "marked"
    job = await place.accepted(str(marked))
    async with asyncio.timeout(60), other.working():
        while job.name not in other.merged.pending:
            await asyncio.sleep(0.02)
        assert not folder.exists()
        other.leads = True
        while not (folder / MARK).exists():
            await asyncio.sleep(0.02)


async def test_a_reserved_folder_goes_when_the_job_made_nothing(place: Place) -> None:
    folder = place.allowed / "merged"
    job = await place.accepted(str(folder))
    await place.ledger.jobs.request_cancel(job.name)
    async with place.working():
        await gone(folder)


async def test_folders_elsewhere_and_those_that_are_there_are_refused(place: Place, tmp_path: Path) -> None:
    (place.allowed / "there").mkdir()
    (place.allowed / "link").symlink_to(tmp_path)
    assert await reason(place, str(place.allowed / "there")) == "ALREADY_EXISTS"
    assert await reason(place, str(tmp_path / "outside"), told="no new folder") == "SOURCE_NOT_ALLOWED"
    assert await reason(place, str(place.allowed / "none" / "merged")) == "SOURCE_NOT_ALLOWED"
    assert await reason(place, str(place.allowed / "link" / "merged")) == "SOURCE_NOT_ALLOWED"
    assert await reason(place, str(place.allowed / ".." / "merged")) == "SOURCE_NOT_ALLOWED"
