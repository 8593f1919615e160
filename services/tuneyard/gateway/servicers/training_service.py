"""The training service on the wire."""

from collections.abc import AsyncIterator, Callable

import grpc

from tuneyard.gateway.intake import JobIntake
from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.metrics import Metrics
from tuneyard.gateway.servicers.principal import idempotency_key
from tuneyard.gateway.watch import WatchHub
from tuneyard.rpc import names
from tuneyard.rpc.errors import invalid
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2_grpc
from tuneyard.v1 import training_service_pb2 as pb

_SERVICE = "tuneyard.v1.TrainingService"
_EVENT_KINDS = tuple(field.name for field in event_pb2.JobEvent.DESCRIPTOR.oneofs_by_name["body"].fields)
_EVENTS_PAGE = 500


class TrainingServicer(training_service_pb2_grpc.TrainingServiceServicer):
    """Creates, follows and steers jobs."""

    def __init__(
        self,
        *,
        intake: JobIntake,
        jobs: JobRepository,
        hub: WatchHub,
        metrics: Metrics,
        on_intent: Callable[[], None],
    ) -> None:
        """`on_intent` is called after a job was asked for something."""
        self._intake = intake
        self._jobs = jobs
        self._hub = hub
        self._metrics = metrics
        self._on_intent = on_intent

    async def Train(self, request: pb.TrainRequest, context: Context) -> pb.TrainResponse:
        return pb.TrainResponse(job=await self._intake.train(request, idempotency_key(request)))

    async def Merge(self, request: pb.MergeRequest, context: Context) -> pb.MergeResponse:
        spec = job_pb2.JobSpec(merge=request.spec)
        return pb.MergeResponse(job=await self._intake.derive(spec, request, idempotency_key(request)))

    async def Export(self, request: pb.ExportRequest, context: Context) -> pb.ExportResponse:
        spec = job_pb2.JobSpec(export=request.spec)
        return pb.ExportResponse(job=await self._intake.derive(spec, request, idempotency_key(request)))

    async def Evaluate(self, request: pb.EvaluateRequest, context: Context) -> pb.EvaluateResponse:
        spec = job_pb2.JobSpec(evaluate=request.spec)
        return pb.EvaluateResponse(job=await self._intake.derive(spec, request, idempotency_key(request)))

    async def Estimate(self, request: pb.EstimateRequest, context: Context) -> pb.EstimateResponse:
        return pb.EstimateResponse(estimate=await self._intake.estimate(request))

    async def Preview(self, request: pb.PreviewRequest, context: Context) -> pb.PreviewResponse:
        return pb.PreviewResponse(preview=await self._intake.preview(request))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        check(request)
        return pb.GetJobResponse(job=await self._jobs.get(request.name))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        check(request)
        jobs, token, total = await self._jobs.list(
            request.filter, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token, total_size=total)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        check(request)
        job = await self._jobs.request_cancel(request.name)
        self._on_intent()
        return pb.CancelJobResponse(job=job)

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> pb.PauseJobResponse:
        check(request)
        job = await self._jobs.request_pause(request.name)
        self._on_intent()
        return pb.PauseJobResponse(job=job)

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context) -> pb.ResumeJobResponse:
        check(request)
        job = await self._jobs.request_resume(request.name)
        self._on_intent()
        return pb.ResumeJobResponse(job=job)

    async def RerunJob(self, request: pb.RerunJobRequest, context: Context) -> pb.RerunJobResponse:
        return pb.RerunJobResponse(job=await self._intake.rerun(request, idempotency_key(request)))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Context) -> pb.DeleteJobResponse:
        check(request)
        await self._jobs.delete(request.name)
        return pb.DeleteJobResponse()

    async def WatchJob(  # type: ignore[override]
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Yields responses that are serialized already; `add_to_server` registers it so."""
        check(request)
        names.job_id(request.name)
        async for response in self._hub.watch(request.name, request.after_sequence):
            yield response

    async def WatchJobs(
        self, request: pb.WatchJobsRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        check(request)
        async for response in self._hub.watch_jobs(request.filter):
            yield response

    async def GetJobMetrics(
        self, request: pb.GetJobMetricsRequest, context: Context
    ) -> pb.GetJobMetricsResponse:
        check(request)
        names.job_id(request.name)
        return await self._metrics.columns(request.name, request.metrics, request.max_points)

    async def ListJobEvents(
        self, request: pb.ListJobEventsRequest, context: Context
    ) -> pb.ListJobEventsResponse:
        check(request)
        names.job_id(request.parent, field="parent")
        if unknown := [index for index, kind in enumerate(request.kinds) if kind not in _EVENT_KINDS]:
            raise invalid(f"kinds[{unknown[0]}]", f"must be one of {', '.join(_EVENT_KINDS)}")
        listed, following = await self._jobs.listed_events(
            request.parent,
            kinds=request.kinds,
            after=request.after_sequence,
            limit=request.page_size or _EVENTS_PAGE,
        )
        return pb.ListJobEventsResponse(events=listed, next_after_sequence=following)

    async def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, context: Context
    ) -> pb.ListCheckpointsResponse:
        check(request)
        names.job_id(request.parent, field="parent")
        return pb.ListCheckpointsResponse(checkpoints=await self._jobs.checkpoints(request.parent))


def add_to_server(servicer: TrainingServicer, server: grpc.aio.Server) -> None:
    """Register the servicer. WatchJob comes first and on its own, with its responses sent as they are."""
    watch: grpc.RpcMethodHandler[pb.WatchJobRequest, bytes] = grpc.unary_stream_rpc_method_handler(
        servicer.WatchJob, request_deserializer=pb.WatchJobRequest.FromString
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"WatchJob": watch})])
    training_service_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)
