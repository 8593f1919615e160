"""The TrainerService: each method checks the request, makes one call and wraps the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from tuneyard.rpc.errors import invalid
from tuneyard.rpc.interceptors import Context
from tuneyard.trainer.conversions import Conversions
from tuneyard.trainer.description import Description
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.inference import Inference
from tuneyard.trainer.previews import Previews
from tuneyard.trainer.run_folder import RunKey
from tuneyard.trainer.runs import Runs
from tuneyard.v1 import trainer_service_pb2 as pb
from tuneyard.v1.trainer_service_pb2_grpc import TrainerServiceServicer


class Servicer(TrainerServiceServicer):
    """Serves a trainer's runs, its loaded models and what it knows."""

    def __init__(
        self,
        family: TrainerFamily,
        *,
        runs: Runs,
        inference: Inference,
        previews: Previews,
        conversions: Conversions,
        description: Description,
    ) -> None:
        self._family = family
        self._runs = runs
        self._inference = inference
        self._previews = previews
        self._conversions = conversions
        self._description = description

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        return pb.StartRunResponse(device=await self._runs.start(request))

    async def StopRun(self, request: pb.StopRunRequest, context: Context) -> pb.StopRunResponse:
        self._runs.check_epoch(request.controller_epoch)
        if request.mode not in (pb.StopMode.STOP_MODE_CANCEL, pb.StopMode.STOP_MODE_PAUSE):
            raise invalid("mode", "must be CANCEL or PAUSE")
        self._runs.stop(RunKey.of(request.job, request.attempt), request.mode)
        return pb.StopRunResponse()

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        key = RunKey.of(request.job, request.attempt)
        async with aclosing(self._runs.watch(key, after=request.after_run_sequence)) as responses:
            async for response in responses:
                yield response

    async def ReleaseRun(self, request: pb.ReleaseRunRequest, context: Context) -> pb.ReleaseRunResponse:
        self._runs.check_epoch(request.controller_epoch)
        await self._runs.release(RunKey.of(request.job, request.attempt))
        return pb.ReleaseRunResponse()

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        return pb.ListRunsResponse(runs=self._runs.infos())

    async def Estimate(
        self, request: pb.TrainerServiceEstimateRequest, context: Context
    ) -> pb.TrainerServiceEstimateResponse:
        return await asyncio.to_thread(self._family.estimate, request, self._description.devices())

    async def Preview(
        self, request: pb.TrainerServicePreviewRequest, context: Context
    ) -> pb.TrainerServicePreviewResponse:
        return await self._previews.preview(request)

    async def ConvertModel(
        self, request: pb.ConvertModelRequest, context: Context
    ) -> pb.ConvertModelResponse:
        return await self._conversions.convert(request)

    async def Infer(self, request: pb.InferRequest, context: Context) -> AsyncIterator[pb.InferResponse]:
        async with aclosing(self._inference.infer(request)) as pieces:
            async for piece in pieces:
                yield pb.InferResponse(response=piece)

    async def GetTrainerInfo(
        self, request: pb.GetTrainerInfoRequest, context: Context
    ) -> pb.GetTrainerInfoResponse:
        self._runs.note_epoch(request.controller_epoch)
        return self._description.response()
