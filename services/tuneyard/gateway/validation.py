"""Validates datasets: fetches their bytes and checks them in limited child processes, a few at a time.

Only the controller's gateway validates. Whatever interrupts it, a dataset stays VALIDATING until some gateway
has come to its end.
"""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from tuneyard.gateway import reports
from tuneyard.gateway.check_process import CheckProcess, ValidationLimits
from tuneyard.gateway.datasets import DatasetRecord, DatasetRepository
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_calls import in_store
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ChecksumMismatch, ObjectNotFound, ObjectStore
from tuneyard.v1 import dataset_pb2

log = structlog.get_logger(__name__)

_RETRY_DELAYS: Final = (0.5, 2.0, 10.0, 30.0)
_POLL_SECONDS: Final = 1.0
_SECONDS_BETWEEN_PROGRESS: Final = 1.0


class Validator:
    """Finds datasets that wait for their validation, and brings each to its end."""

    def __init__(
        self,
        repository: DatasetRepository,
        store: ObjectStore,
        sources: ImportSources,
        *,
        work_dir: Path,
        is_leader: Callable[[], bool],
        on_change: Callable[[str], None],
        limits: ValidationLimits = ValidationLimits(),  # noqa: B008 - frozen
    ) -> None:
        """`work_dir` is this gateway's own and is emptied; `on_change` gets the name of a settled dataset."""
        self._repository = repository
        self._store = store
        self._sources = sources
        self._work_dir = work_dir
        self._is_leader = is_leader
        self._on_change = on_change
        self._limits = limits
        self._wanted = asyncio.Event()
        self._active: dict[str, asyncio.Task[None]] = {}

    def poke(self) -> None:
        """A dataset's bytes have arrived."""
        self._wanted.set()

    def abandon(self, name: str) -> None:
        """A dataset was deleted: its check is for nothing."""
        if task := self._active.get(name):
            task.cancel()

    async def run(self) -> None:
        """Validates until cancelled, and then leaves no process behind."""
        await asyncio.to_thread(self._empty_work_dir)
        with ThreadPoolExecutor(self._limits.concurrent, "check") as threads:
            async with asyncio.TaskGroup() as group:
                while True:
                    if self._is_leader():
                        await self._begin(group, threads)
                    await self._pause()

    async def _begin(self, group: asyncio.TaskGroup, threads: ThreadPoolExecutor) -> None:
        try:
            waiting = await self._repository.validating()
        except TuneyardError as error:
            log.warning("datasets cannot be looked up", reason=error.reason)
            return
        for record in waiting:
            name = record.dataset.name
            if len(self._active) >= self._limits.concurrent:
                return
            if name not in self._active:
                task = group.create_task(self._validate(name, threads))
                self._active[name] = task
                task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, _: "asyncio.Task[None]") -> None:
        del self._active[name]
        self.poke()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wanted.wait()
        self._wanted.clear()

    async def _validate(self, name: str, threads: ThreadPoolExecutor) -> None:
        with structlog.contextvars.bound_contextvars(dataset=name):
            attempt = 0
            while True:
                try:
                    await self._validate_once(name, threads, is_last=attempt >= len(_RETRY_DELAYS))
                    return
                except TuneyardError as error:
                    if error.reason == "DATASET_NOT_FOUND":
                        return
                    log.warning("validation interrupted", reason=error.reason, message=error.message)
                except Exception:
                    log.warning("validation interrupted", exc_info=True)
                await asyncio.sleep(_RETRY_DELAYS[min(attempt, len(_RETRY_DELAYS) - 1)])
                attempt += 1

    async def _validate_once(self, name: str, threads: ThreadPoolExecutor, *, is_last: bool) -> None:
        record = await self._repository.record(name)
        if record.dataset.state != dataset_pb2.DATASET_STATE_VALIDATING:
            return
        folder = self._work_dir / secrets.token_hex(8)
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            report = await self._judged(record, folder, threads, is_last=is_last)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        dataset = await self._repository.validated(name, report)
        log.info(
            "dataset validated",
            state=dataset_pb2.DatasetState.Name(dataset.state),
            findings=sum(report.counts.values()),
        )
        self._on_change(name)

    async def _judged(
        self, record: DatasetRecord, folder: Path, threads: ThreadPoolExecutor, *, is_last: bool
    ) -> dataset_pb2.ValidationReport:
        """The verdict; any error raised here says nothing about the dataset and is retried."""
        try:
            if record.source:
                record = await self._imported(record)
            path = folder / "data"
            await in_store(self._store.get_file, record.key, path)
        except TuneyardError as error:
            if error.reason != "SOURCE_NOT_ALLOWED":
                raise
            return reports.failed("SOURCE_UNREADABLE", error.message, remedy="Name another source.")
        except (ObjectNotFound, ChecksumMismatch):
            message = "The stored bytes are gone, or are not those that were stored."
            return reports.failed("DATASET_BYTES_LOST", message, remedy="Upload the dataset again.")
        loop = asyncio.get_running_loop()
        check = CheckProcess(
            path,
            format=reports.FORMATS[record.dataset.format],
            file_name=record.dataset.file_name,
            limits=self._limits,
            exclusion=reports.exclusion(record.dataset),
        )
        check.start()
        clock = loop.call_later(self._limits.wall_time.total_seconds(), check.expire)
        progress = asyncio.create_task(self._report_progress(record.dataset.name, check))
        try:
            report = await loop.run_in_executor(threads, check.read, is_last)
        finally:
            check.kill()
            clock.cancel()
            progress.cancel()
        return reports.to_message(report)

    async def _imported(self, record: DatasetRecord) -> DatasetRecord:
        info = await in_store(self._sources.copy, record.source, record.key)
        name = record.dataset.name
        await self._repository.bytes_arrived(name, size_bytes=info.size_bytes, sha256=info.sha256)
        return await self._repository.record(name)

    async def _report_progress(self, name: str, check: CheckProcess) -> None:
        told = 0.0
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_PROGRESS)
            if check.fraction > told:
                told = check.fraction
                with contextlib.suppress(TuneyardError):
                    await self._repository.validation_moved(name, told)

    def _empty_work_dir(self) -> None:
        shutil.rmtree(self._work_dir, ignore_errors=True)
        self._work_dir.mkdir(parents=True)
