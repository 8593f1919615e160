"""The finished models that are being tried: which are loaded, on which devices, and who has to go.

A model takes a device that no run has and gives it back when one wants it; of several models, the one that
was unused for longest makes room for a new one.
"""

import itertools
import shutil
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.launcher import Launcher
from tuneyard.trainer.loaded_model import InferenceTimes, LoadedModel
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.slots import Slots
from tuneyard.v1.trainer_service_pb2 import InferRequest

_RETRY = timedelta(seconds=5)


class Inference:
    """Loaded models by job. All methods are called on one event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        methods: Collection[str],
        slots: Slots,
        launcher: Launcher,
        order: Callable[[str], WorkOrder],
        store_problem: Callable[[], str] = str,
        times: InferenceTimes | None = None,
    ) -> None:
        """`folder` is emptied; `methods` are what the family's models answer; `order` tells what a worker on
        a device is launched with.
        """
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._methods = frozenset(methods)
        self._slots = slots
        self._launcher = launcher
        self._order = order
        self._store_problem = store_problem
        self._times = times or InferenceTimes()
        self._numbers = itertools.count(1)
        self._by_job: dict[str, LoadedModel] = {}
        self._seated: list[LoadedModel] = []
        self._closing = False

    async def infer(self, request: InferRequest) -> AsyncGenerator[bytes, None]:
        """The pieces of the answer; the model is loaded first if it is not there.

        NOT_SUPPORTED, STORE_UNAVAILABLE, SHUTTING_DOWN, and what `LoadedModel.answer` raises.
        """
        self._check(request)
        await self._launcher.wait_ready()
        model = self._by_job.get(request.job)
        if model is None or not model.is_open:
            model = self._load(request)
        async with aclosing(model.answer(request.method, request.request)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """End every model."""
        self._closing = True
        for model in [*self._by_job.values(), *self._seated]:
            await model.end(TuneyardError("SHUTTING_DOWN", "the trainer is stopping", retry_after=_RETRY))

    async def take(self, model: LoadedModel) -> str:
        """A device that no run has; an unused model makes room. NO_FREE_SLOT."""
        while (device := self._slots.admit(model)) is None:
            unused = [other for other in self._seated if not (other.is_open and other.is_busy)]
            if not unused:
                raise self._no_free_slot()
            await min(unused, key=lambda other: (other.is_open, other.used_at)).end(
                TuneyardError("TRAINER_UNAVAILABLE", "another model took the device; try again")
            )
        self._seated.append(model)
        return device

    def give_back(self, model: LoadedModel) -> None:
        """The model's process is gone."""
        self._slots.dismiss(model)
        if model in self._seated:
            self._seated.remove(model)
        if self._by_job.get(model.job) is model:
            del self._by_job[model.job]

    def _check(self, request: InferRequest) -> None:
        if request.method not in self._methods:
            text = f"this trainer does not serve {request.method} yet: download the job's artifacts instead"
            raise TuneyardError("NOT_SUPPORTED", text)
        if self._closing:
            raise TuneyardError("SHUTTING_DOWN", "the trainer is stopping", retry_after=_RETRY)
        if problem := self._store_problem():
            raise TuneyardError("STORE_UNAVAILABLE", problem, retry_after=_RETRY)

    def _load(self, request: InferRequest) -> LoadedModel:
        model = LoadedModel(
            self._folder / str(next(self._numbers)),
            request,
            launcher=self._launcher,
            seating=self,
            order=self._order,
            times=self._times,
        )
        self._by_job[request.job] = model
        return model

    def _no_free_slot(self) -> TuneyardError:
        jobs = [job for _, job in self._slots.devices() if job]
        running = [f"{device} runs {job}" for device, job in self._slots.devices() if job]
        tried = [f"{model.job} is being tried" for model in self._seated]
        return TuneyardError(
            "NO_FREE_SLOT",
            f"no device is free: {', '.join(running + tried)}; try again when it is done"
            + (", or pause the job" if running else ""),
            metadata={"jobs": " ".join(jobs)},
            retry_after=_RETRY,
        )
