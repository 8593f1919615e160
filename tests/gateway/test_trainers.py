"""The links to trainers: what their answers are taken for."""

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]

from tests.support.fake_trainer import FakeTrainer
from tuneyard.gateway.trainers import TrainerAddress, Trainers
from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError
from tuneyard.v1 import trainer_service_pb2 as pb
from tuneyard.v1 import training_pb2

VISION = training_pb2.FAMILY_VISION


def details_of(code: grpc.StatusCode, message: str) -> bytes:
    found: bytes = status_pb2.Status(code=code.value[0], message=message).SerializeToString()
    return found


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
