"""The links to trainers: what their answers are taken for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]

from tests.support.fake_trainer import FakeTrainer
from tuneyard.gateway.trainers import TrainerAddress, Trainers
from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError
from tuneyard.v1 import system_pb2, training_pb2
from tuneyard.v1 import trainer_service_pb2 as pb

VISION = training_pb2.FAMILY_VISION
_PATIENCE_SECONDS = 60


def details_of(code: grpc.StatusCode, message: str) -> bytes:
    found: bytes = status_pb2.Status(code=code.value[0], message=message).SerializeToString()
    return found


@pytest.fixture
async def silent() -> AsyncIterator[FakeTrainer]:
    trainer = FakeTrainer(trainer_id="silent")
    yield trainer
    await trainer.stop()


@pytest.fixture
async def sound() -> AsyncIterator[FakeTrainer]:
    trainer = FakeTrainer(trainer_id="sound")
    trainer.estimate.estimate.total_steps = 30
    yield trainer
    await trainer.stop()


@asynccontextmanager
async def connected(*fakes: FakeTrainer) -> AsyncIterator[Trainers]:
    """All of the fakes, and each was reached."""
    trainers = Trainers([TrainerAddress(VISION, await fake.start()) for fake in fakes])
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for link in trainers.links:
            # On a busy machine a connection may take longer than one refresh waits.
            while not await link.refresh():
                await asyncio.sleep(0.05)
    yield trainers
    await trainers.close()


async def test_a_trainer_that_hangs_leaves_time_to_ask_another(
    silent: FakeTrainer, sound: FakeTrainer
) -> None:
    silent.silent.add("Estimate")
    shares: list[float] = []
    async with connected(silent, sound) as trainers:
        link = trainers.links[0]
        ask = link.estimate

        async def hurried(
            request: pb.TrainerServiceEstimateRequest, *, timeout: float
        ) -> pb.TrainerServiceEstimateResponse:
            shares.append(timeout)
            return await ask(request, timeout=0.1)

        link.estimate = hurried  # type: ignore[method-assign]
        found = await trainers.estimate(
            VISION, pb.TrainerServiceEstimateRequest(), within=timedelta(seconds=2 * _PATIENCE_SECONDS)
        )
    assert found.estimate.total_steps == 30
    assert len(shares) == 1
    assert shares[0] <= _PATIENCE_SECONDS


async def test_an_estimate_ends_in_time_though_every_trainer_hangs(silent: FakeTrainer) -> None:
    silent.silent.add("Estimate")
    async with connected(silent) as trainers, asyncio.timeout(_PATIENCE_SECONDS):
        with pytest.raises(TuneyardError, match="TRAINER_UNAVAILABLE"):
            await trainers.estimate(VISION, pb.TrainerServiceEstimateRequest(), within=timedelta(seconds=0.2))


async def test_the_trainer_with_the_largest_device_is_asked(silent: FakeTrainer, sound: FakeTrainer) -> None:
    silent.devices = [system_pb2.Device(id="cuda:0", memory_total_bytes=8)]
    sound.devices = [system_pb2.Device(id="cuda:0", memory_total_bytes=80)]
    async with connected(silent, sound) as trainers:
        await trainers.estimate(VISION, pb.TrainerServiceEstimateRequest())
    assert (silent.calls["Estimate"], sound.calls["Estimate"]) == (0, 1)


@pytest.mark.parametrize(
    "details",
    [details_of(grpc.StatusCode.NOT_FOUND, "gone"), details_of(grpc.StatusCode.ABORTED, "other"), b"\xff"],
)
async def test_details_that_contradict_their_status_are_no_answer_of_a_trainer(details: bytes) -> None:
    class Proxied(FakeTrainer):
        async def ListRuns(self, request: pb.ListRunsRequest, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override,type-arg]
            context.set_trailing_metadata(((STATUS_DETAILS_KEY, details),))
            await context.abort(grpc.StatusCode.ABORTED, "a proxy's words")

    trainer = Proxied()
    trainers = Trainers([TrainerAddress(VISION, await trainer.start())])
    with pytest.raises(TuneyardError) as refused:
        await trainers.links[0].list_runs()
    await trainers.close()
    await trainer.stop()
    assert refused.value.reason == "TRAINER_UNAVAILABLE"
