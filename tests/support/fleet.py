"""A leading controller over trainers that do as they are told, to be watched and hung."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest

from tests.support.fake_trainer import FakeRun, FakeTrainer
from tests.support.ledger import LedgerDriver
from tuneyard.gateway.controller import Controller, ControllerSettings
from tuneyard.gateway.resolver import Resolver
from tuneyard.gateway.trainers import TrainerAddress, Trainers
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import dataset_pb2, job_pb2, trainer_service_pb2, training_pb2

# The lease is no way out for a test that is about something else.
SETTINGS = ControllerSettings(
    trainer_lease=timedelta(hours=1),
    cancel_after=timedelta(seconds=0.5),
    poll=timedelta(seconds=0.05),
)
PATIENCE_SECONDS = 60.0


class ReadyDatasets:
    """Every dataset is READY."""

    async def get(self, name: str) -> dataset_pb2.Dataset:
        return dataset_pb2.Dataset(name=name, state=dataset_pb2.DATASET_STATE_READY)

    async def source(self, name: str) -> trainer_service_pb2.DatasetSource:
        return trainer_service_pb2.DatasetSource(name=name)


class NoModels:
    """No model is stored."""

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        raise TuneyardError("MODEL_NOT_FOUND", f"there is no {name}")

    async def standing_for(self, wanted: object) -> None:
        return None


class Fleet:
    """A leading controller over one trainer, or more."""

    def __init__(self, ledger: LedgerDriver, trainer: FakeTrainer, *others: FakeTrainer) -> None:
        self.ledger = ledger
        self.trainer = trainer
        self.settings = SETTINGS
        self.hung: Counter[str] = Counter()
        self._all = (trainer, *others)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.addresses = [await trainer.start() for trainer in self._all]
        self.lead()

    def lead(self) -> None:
        """Begin a gateway's life."""
        self.trainers = Trainers(
            [TrainerAddress(training_pb2.FAMILY_VISION, address) for address in self.addresses],
            poll_seconds=0.05,
        )
        jobs = self.ledger.jobs
        resolver = Resolver(trainers=self.trainers, datasets=ReadyDatasets(), models=NoModels(), jobs=jobs)
        self.controller = Controller(
            jobs=jobs, trainers=self.trainers, resolver=resolver, holder="test", settings=self.settings
        )
        self.trainers.on_change = self.controller.poke
        self._tasks = [
            asyncio.create_task(self.controller.run()),
            asyncio.create_task(self.trainers.run()),
        ]

    async def die(self) -> None:
        """End the gateway's life as a kill does: nothing is given back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.trainers.close()

    async def stop(self) -> None:
        await self.die()
        for trainer in self._all:
            await trainer.stop()

    async def queued(self, estimate: job_pb2.Estimate | None = None) -> str:
        name = await self.ledger.create(batch_size=8, estimate=estimate)
        self.controller.poke()
        return name

    async def running(self) -> tuple[str, FakeRun]:
        name = await self.queued()
        await until(lambda: any(job == name for job, _ in self.trainer.runs))
        run = next(run for key, run in self.trainer.runs.items() if key[0] == name)
        run.write(**self.ledger.started())
        await self.reaches(name, "RUNNING")
        return name, run

    async def cancel(self, name: str) -> None:
        await self.ledger.jobs.request_cancel(name)
        self.controller.poke()

    async def pause(self, name: str) -> None:
        await self.ledger.jobs.request_pause(name)
        self.controller.poke()

    def waits_for(self, name: str, pattern: str) -> Callable[[], Awaitable[bool]]:
        """Whether a job's `waiting_for` matches."""

        async def is_told() -> bool:
            return re.search(pattern, (await self.ledger.jobs.get(name)).waiting_for) is not None

        return is_told

    def hang(self, *calls: str) -> None:
        """Let calls on trainers wait for ever: who waits for one of them, waits for ever, too."""

        async def forever(call: str, *_: object, **__: object) -> None:
            self.hung[call] += 1
            await asyncio.Event().wait()

        for link, call in itertools.product(self.trainers.links, calls):
            setattr(link, call, partial(forever, call))

    async def reaches(self, name: str, state: str) -> job_pb2.Job:
        wanted = job_pb2.JobState.Value(f"JOB_STATE_{state}")

        async def is_there() -> bool:
            return (await self.ledger.jobs.get(name)).state == wanted

        try:
            await until(is_there)
        except TimeoutError:
            pytest.fail(f"{name} went {await self.ledger.states(name)} and not to {state}")
        return await self.ledger.jobs.get(name)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.01)
