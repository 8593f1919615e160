"""Has previews made: each by a worker process of its own, which takes no slot and leaves nothing behind."""

import asyncio
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import structlog

from tuneyard.rpc.errors import STATUS_CODES, TuneyardError
from tuneyard.trainer.frames import BrokenFrame, Failure
from tuneyard.trainer.launcher import Launcher, LaunchError, Worker
from tuneyard.trainer.preview_worker import ANSWER_FILE, FAILURE_FILE, REQUEST_FILE
from tuneyard.trainer.process import kill_group
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.worker_output import tail
from tuneyard.v1.preview_pb2 import Preview
from tuneyard.v1.trainer_service_pb2 import TrainerServicePreviewRequest, TrainerServicePreviewResponse

_log = structlog.get_logger(__name__)

PREVIEW_WORKER_MODULE = "tuneyard.trainer.preview_worker"

_AT_ONCE = 2
_STORE_PATIENCE = timedelta(seconds=10)
_SOON = timedelta(seconds=1)
_GONE_POLL_SECONDS = 0.002


class Previews:
    """A few previews at once; others wait. All methods are called on one event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        offered: bool,
        launcher: Launcher,
        order: Callable[[], WorkOrder],
        store_problem: Callable[[], str] = str,
        within: timedelta = timedelta(minutes=2),
    ) -> None:
        """`folder` is emptied; `offered` tells whether the family has previews."""
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._offered = offered
        self._launcher = launcher
        self._order = order
        self._store_problem = store_problem
        self._within = within.total_seconds()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._numbers = itertools.count(1)

    async def preview(self, request: TrainerServicePreviewRequest) -> TrainerServicePreviewResponse:
        """The preview. NOT_SUPPORTED, STORE_UNAVAILABLE, TRAINER_UNAVAILABLE, and as a run would fail."""
        if not self._offered:
            raise TuneyardError("NOT_SUPPORTED", "this family of models has no preview of what is trained on")
        if problem := self._store_problem():
            raise TuneyardError("STORE_UNAVAILABLE", problem, retry_after=_SOON)
        folder = self._folder / str(next(self._numbers))
        try:
            async with asyncio.timeout(self._within), self._turns:
                await self._launcher.wait_ready()
                await asyncio.to_thread(_write, folder, request)
                await self._run(folder)
                return TrainerServicePreviewResponse(preview=await asyncio.to_thread(_answer, folder))
        except TimeoutError:
            text = f"the preview took more than {self._within:.0f} s"
            raise TuneyardError("TRAINER_UNAVAILABLE", text) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, folder: Path) -> None:
        order = self._order()
        settings = replace(order.settings, wake_socket=None, store_patience=_STORE_PATIENCE)

        def prepare(parent_pid: int) -> None:
            replace(settings, parent_pid=parent_pid).write(folder / "settings.json")

        try:
            worker = await self._launcher.launch(
                folder, env=order.env, prepare=prepare, worker=PREVIEW_WORKER_MODULE
            )
        except LaunchError as error:
            _log.error("preview worker not launched", error=str(error))
            text = "the preview's process could not be started; try again"
            raise TuneyardError("TRAINER_UNAVAILABLE", text, retry_after=_SOON) from error
        try:
            await asyncio.shield(worker.ended)
        finally:
            await _end(worker)


async def _end(worker: Worker) -> None:
    """Whatever the worker started goes with it."""
    while kill_group(worker.process):
        await asyncio.sleep(_GONE_POLL_SECONDS)
    await worker.ended


def _write(folder: Path, request: TrainerServicePreviewRequest) -> None:
    folder.mkdir(parents=True, mode=0o700)
    (folder / REQUEST_FILE).write_bytes(request.SerializeToString())


def _answer(folder: Path) -> Preview:
    if (folder / ANSWER_FILE).exists():
        return Preview.FromString((folder / ANSWER_FILE).read_bytes())
    try:
        failure = Failure.unpack((folder / FAILURE_FILE).read_bytes())
    except (OSError, BrokenFrame):
        _log.warning("preview worker ended badly", output=tail(folder / "stderr.log"))
        raise TuneyardError("WORKER_CRASHED", "the preview's process ended unexpectedly") from None
    if failure.reason == "RECIPE_FAILED":
        _log.warning("preview failed", output=tail(folder / "stderr.log"))
    reason = failure.reason if failure.reason in STATUS_CODES else "RECIPE_FAILED"
    raise TuneyardError(reason, failure.message)
