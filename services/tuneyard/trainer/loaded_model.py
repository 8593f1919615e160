"""One finished model in a worker process of its own: loaded, asked, and ended; nothing of it outlives that.

It answers one question after the other. Which models are loaded, and where, is not decided here.
"""

import asyncio
import contextvars
import shutil
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from tuneyard.rpc.errors import STATUS_CODES, TuneyardError, Violation
from tuneyard.trainer import frames
from tuneyard.trainer.frames import Failure, Kind
from tuneyard.trainer.inference_worker import REQUEST_FILE
from tuneyard.trainer.launcher import Launcher, LaunchError, Worker, WorkerExit
from tuneyard.trainer.process import kill_group
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.worker_output import keep_short, tail
from tuneyard.v1.trainer_service_pb2 import InferRequest

_log = structlog.get_logger(__name__)

INFERENCE_WORKER_MODULE = "tuneyard.trainer.inference_worker"

_SOON = timedelta(seconds=1)
_GONE_POLL_SECONDS = 0.002
_LAST_WORD_SECONDS, _EXIT_KNOWN_SECONDS = 0.2, 1.0
_MAX_WAITING = 16
"""Questions that wait for one model; each may hold 32 MiB of images."""


@dataclass(frozen=True, kw_only=True)
class InferenceTimes:
    """How long things may take."""

    idle: timedelta = timedelta(minutes=5)
    """From the last answer to the end of the process."""
    cancel_grace: timedelta = timedelta(seconds=5)
    """From a caller's leaving to the end of a process that goes on with the answer."""
    store_patience: timedelta = timedelta(seconds=20)
    """How long the model's files are fetched while the store does not answer: somebody waits."""


class Seating(Protocol):
    """Gives models their devices."""

    async def take(self, model: "LoadedModel") -> str:
        """A device for the model; NO_FREE_SLOT."""
        ...

    def give_back(self, model: "LoadedModel") -> None:
        """The model's process is gone."""
        ...


@dataclass
class _Question:
    """One call: what is asked, and what has come of it. A piece that is None is the end."""

    frame: bytes
    pieces: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    error: TuneyardError | None = None
    is_over: bool = False
    is_given_up: bool = False

    def end(self, error: TuneyardError | None = None) -> None:
        if not self.is_over:
            self.is_over, self.error = True, error
            self.pieces.put_nowait(None)


class LoadedModel:
    """A model from its slot to its end. All methods are called on one event loop."""

    def __init__(
        self,
        folder: Path,
        request: InferRequest,
        *,
        launcher: Launcher,
        seating: Seating,
        order: Callable[[str], WorkOrder],
        times: InferenceTimes,
    ) -> None:
        """Begins to load at once. `order` tells what a worker on a device is launched with."""
        self.job = request.job
        self._folder = folder
        self._request = InferRequest()
        self._request.CopyFrom(request)
        # Questions reach the worker one by one.
        self._request.ClearField("request")
        self._request.ClearField("method")
        self._launcher = launcher
        self._seating = seating
        self._order = order
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._used_at = self._loop.time()
        self._waiting: deque[_Question] = deque()
        self._asked = asyncio.Event()
        self._current: _Question | None = None
        self._cancel: Callable[[], None] = lambda: None
        self._killer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Future[TuneyardError] = self._loop.create_future()
        self.is_open = True
        """False once it takes no more questions."""
        # In a context of its own: what the log binds to the first call does not belong to the others.
        self._life = asyncio.create_task(self._live(), context=contextvars.Context())

    @property
    def used_at(self) -> float:
        """When it last had a question, by the event loop's clock."""
        return self._used_at

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._current is not None or bool(self._waiting)

    async def answer(self, method: str, request: bytes) -> AsyncGenerator[bytes, None]:
        """The answer's pieces. Leaving early ends the work on it.

        Raises what the worker says of the request or of the model, TOO_MANY_REQUESTS, NO_FREE_SLOT where a
        run takes the device, and OUT_OF_MEMORY, WORKER_KILLED or WORKER_CRASHED where the process ends.
        """
        if len(self._waiting) >= _MAX_WAITING:
            text = f"{_MAX_WAITING} calls wait for this model already"
            raise TuneyardError("TOO_MANY_REQUESTS", text, retry_after=_SOON, resource=self.job)
        body = InferRequest(method=method, request=request).SerializeToString()
        question = _Question(frames.pack(Kind.QUESTION, body))
        self._waiting.append(question)
        self._asked.set()
        try:
            while (piece := await question.pieces.get()) is not None:
                yield piece
        finally:
            self._give_up(question)
        if question.error is not None:
            raise question.error

    async def leave(self) -> None:
        await self.end(
            TuneyardError(
                "NO_FREE_SLOT",
                "a queued job took the device while the model was tried; try again when it is done",
                retry_after=timedelta(seconds=5),
                resource=self.job,
            )
        )

    async def end(self, error: TuneyardError) -> None:
        """End the process at once; who waits for an answer gets the error. Returns when it is gone."""
        self.is_open = False
        if not self._leaving.done():
            self._leaving.set_result(error)
        await asyncio.shield(self._life)

    def _give_up(self, question: _Question) -> None:
        question.is_given_up = True
        if question in self._waiting:
            self._waiting.remove(question)
        elif question is self._current and not question.is_over:
            self._cancel()
            error = TuneyardError(
                "TRAINER_UNAVAILABLE",
                "the model was ended since it went on with an answer that nobody waits for; try again",
                retry_after=_SOON,
            )
            grace = self._times.cancel_grace.total_seconds()
            self._killer = self._loop.call_later(grace, self._end_soon, error)

    def _end_soon(self, error: TuneyardError) -> None:
        self.is_open = False
        if not self._leaving.done():
            self._leaving.set_result(error)

    async def _live(self) -> None:
        with structlog.contextvars.bound_contextvars(job=self.job):
            error = await self._outcome()
        self.is_open = False
        for question in (self._current, *self._waiting):
            if question is not None:
                question.end(error)
        self._waiting.clear()

    async def _outcome(self) -> TuneyardError:
        """Have the model served; return what is to be said to those who still wait at its end."""
        try:
            device = await self._seating.take(self)
            return await self._serve(self._order(device))
        except TuneyardError as error:
            return error
        except Exception as error:
            _log.error("a model failed in the trainer", exc_info=error)
            return TuneyardError("INTERNAL", "a fault of the trainer; its log has more")
        finally:
            self._seating.give_back(self)
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _serve(self, order: WorkOrder) -> TuneyardError:
        await asyncio.to_thread(self._write_folder)
        listener = frames.listen(self._folder)
        with listener:
            if self._leaving.done():
                return self._leaving.result()
            try:
                worker = await self._launch(order)
            except LaunchError as error:
                _log.error("inference worker not launched", error=str(error))
                text = "the model's process could not be started; try again"
                return TuneyardError("TRAINER_UNAVAILABLE", text, retry_after=_SOON)
            return await self._until_end(worker, listener)

    async def _until_end(self, worker: Worker, listener: socket.socket) -> TuneyardError:
        keeper = asyncio.create_task(keep_short(self._output))
        talk = asyncio.create_task(self._talk(listener))
        try:
            ends: tuple[asyncio.Future[Any], ...] = (talk, worker.ended, self._leaving)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self.is_open = False
            return await self._verdict(talk, worker)
        finally:
            keeper.cancel()
            talk.cancel()
            await self._end_process(worker)
            with suppress(asyncio.CancelledError, Exception):
                await talk

    def _write_folder(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700)
        (self._folder / REQUEST_FILE).write_bytes(self._request.SerializeToString())

    async def _launch(self, order: WorkOrder) -> Worker:
        settings = replace(order.settings, wake_socket=None, store_patience=self._times.store_patience)

        def prepare(parent_pid: int) -> None:
            replace(settings, parent_pid=parent_pid).write(self._folder / "settings.json")

        worker = await self._launcher.launch(
            self._folder, env=order.env, prepare=prepare, worker=INFERENCE_WORKER_MODULE
        )
        _log.info("inference worker launched", pid=worker.process.pid, device=settings.device)
        return worker

    async def _verdict(self, talk: asyncio.Task[TuneyardError], worker: Worker) -> TuneyardError:
        """Why the model ends."""
        if self._leaving.done():
            _log.info("model ended", why=self._leaving.result().message)
            return self._leaving.result()
        # Of the last word, the break of the connection and the process's end, any may be known first.
        await asyncio.wait({talk}, timeout=_LAST_WORD_SECONDS)
        if talk.done():
            with suppress(OSError, EOFError, frames.BrokenFrame):
                return talk.result()
            await asyncio.wait({worker.ended}, timeout=_EXIT_KNOWN_SECONDS)
        exit = worker.ended.result() if worker.ended.done() else WorkerExit(exit_code=1)
        _log.warning(
            "inference worker ended badly",
            exit_code=exit.exit_code,
            signal=exit.signal,
            output=tail(self._output),
        )
        return _crash(exit)

    async def _end_process(self, worker: Worker) -> None:
        """Nothing is lost with the process: it goes at once, and whatever it has started too."""
        while kill_group(worker.process):
            await asyncio.sleep(_GONE_POLL_SECONDS)
        await worker.ended

    async def _talk(self, listener: socket.socket) -> TuneyardError:
        """Ask what there is to ask until there was nothing for long; the error is for who comes too late."""
        connection, _ = await self._loop.sock_accept(listener)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            frame = await frames.read_frame(reader)
            if frame.kind is Kind.FAILED:
                return self._refused(frame.payload)
            _log.info("model loaded", after_seconds=round(self._loop.time() - self._used_at, 3))
            self._cancel = lambda: writer.write(frames.pack(Kind.CANCEL))
            while question := await self._next():
                await self._ask(question, reader, writer)
            _log.info("model ended", why="nobody used it")
            return TuneyardError("TRAINER_UNAVAILABLE", "the model was unused; try again", retry_after=_SOON)
        finally:
            writer.close()

    async def _next(self) -> _Question | None:
        """The next question; None if there was none for long."""
        self._used_at = self._loop.time()
        while not self._waiting:
            self._asked.clear()
            try:
                await asyncio.wait_for(self._asked.wait(), self._times.idle.total_seconds())
            except TimeoutError:
                if not self._waiting:
                    self.is_open = False
                    return None
        return self._waiting.popleft()

    async def _ask(
        self, question: _Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._current = question
        self._used_at = self._loop.time()
        writer.write(question.frame)
        while not question.is_over:
            frame = await frames.read_frame(reader)
            match frame.kind:
                case Kind.PIECE:
                    question.pieces.put_nowait(frame.payload)
                case Kind.DONE:
                    question.end()
                case Kind.FAILED:
                    question.end(self._refused(frame.payload))
                case _:
                    raise frames.BrokenFrame(f"not to be expected: {frame.kind.name}")
        self._current = None
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None

    def _refused(self, payload: bytes) -> TuneyardError:
        failure = Failure.unpack(payload)
        if failure.reason not in ("INVALID_FIELD", "NOT_SUPPORTED"):
            _log.warning("model failed", reason=failure.reason, output=tail(self._output))
        return TuneyardError(
            failure.reason if failure.reason in STATUS_CODES else "RECIPE_FAILED",
            failure.message,
            violations=[Violation(path, text) for path, text in failure.violations],
            resource=self.job,
        )

    @property
    def _output(self) -> Path:
        return self._folder / "stderr.log"


def _crash(exit: WorkerExit) -> TuneyardError:
    if exit.out_of_memory:
        text = "the kernel killed the model's process for want of memory; send fewer or smaller inputs"
        return TuneyardError("OUT_OF_MEMORY", text)
    anew = "; the next call starts it anew"
    if exit.lost:
        text = "the model's process went down with the one that started it" + anew
        return TuneyardError("TRAINER_UNAVAILABLE", text, retry_after=_SOON)
    if exit.signal:
        return TuneyardError("WORKER_KILLED", f"the model's process was killed by signal {exit.signal}{anew}")
    return TuneyardError("WORKER_CRASHED", f"the model's process ended unexpectedly{anew}")
