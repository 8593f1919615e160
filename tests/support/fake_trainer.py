"""A trainer of the gateway's tests: the real wire, runs that a test writes, calls left unanswered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.server import RpcServer
from tuneyard.v1 import system_pb2
from tuneyard.v1 import trainer_service_pb2 as pb
from tuneyard.v1.trainer_service_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server


class FakeRun:
    """One run: its journal and its end."""

    def __init__(self, request: pb.StartRunRequest) -> None:
        self.request = request
        self.records: list[pb.RunRecord] = []
        self.exit: pb.RunExit | None = None
        self.stops: list[int] = []
        self.changed = asyncio.Event()

    def write(self, **body: Any) -> None:
        self.records.append(pb.RunRecord(run_sequence=len(self.records) + 1, **body))
        self._tell()

    def end(self, **exit_: Any) -> None:
        self.exit = pb.RunExit(last_run_sequence=len(self.records), **exit_)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class FakeTrainer(TrainerServiceServicer):
    """Serves what a test tells it to."""

    def __init__(self, *, slots: int = 1, trainer_id: str = "t1") -> None:
        self.slots = slots
        self.trainer_id = trainer_id
        self.runs: dict[tuple[str, int], FakeRun] = {}
        self.started: list[tuple[str, int]] = []
        self.obeys = True
        """Whether a stop ends a run at once."""
        self.refusals: dict[str, TuneyardError] = {}
        """What a method answers instead."""
        self.silent: set[str] = set()
        """Methods that do not answer."""
        self.calls: Counter[str] = Counter()
        self.questions: list[pb.InferRequest] = []
        self.answers: list[bytes] = []
        """The pieces of what is inferred."""
        self.never_ends = False
        """Whether an answer goes on for ever after its pieces."""
        self.answer_ended = asyncio.Event()
        self.devices: list[system_pb2.Device] = []
        self.disk_free_bytes = 0
        self.host_memory_bytes = 0
        self.estimate = pb.TrainerServiceEstimateResponse()
        self._server: RpcServer | None = None

    async def start(self) -> str:
        """Serve; return the address."""
        self._server = RpcServer(listen="127.0.0.1:0")
        add_TrainerServiceServicer_to_server(self, self._server.grpc)
        return await self._server.start([])

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=timedelta())

    async def _answers(self, method: str) -> None:
        self.calls[method] += 1
        if method in self.silent:
            await asyncio.Event().wait()
        if method in self.refusals:
            raise self.refusals[method]

    async def GetTrainerInfo(
        self, request: pb.GetTrainerInfoRequest, context: Context
    ) -> pb.GetTrainerInfoResponse:
        await self._answers("GetTrainerInfo")
        running = [key[0] for key, run in self.runs.items() if run.exit is None]
        return pb.GetTrainerInfoResponse(
            trainer=system_pb2.Trainer(
                id=self.trainer_id,
                health=system_pb2.TRAINER_HEALTH_READY,
                running_jobs=running,
                devices=self.devices,
                disk_free_bytes=self.disk_free_bytes,
                host_memory_bytes=self.host_memory_bytes,
            ),
            free_device_slots=self.slots - len(running),
            free_cpu_slots=1,
            boot_id="first",
        )

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        await self._answers("StartRun")
        key = (request.job, request.attempt)
        if key not in self.runs:
            if all(run.exit for run in self.runs.values()) or len(self.runs) < self.slots:
                self.started.append(key)
                self.runs[key] = FakeRun(request)
            else:
                raise TuneyardError("NO_FREE_SLOT", "every slot of the kind has a run")
        return pb.StartRunResponse(device="cpu")

    async def StopRun(self, request: pb.StopRunRequest, context: Context) -> pb.StopRunResponse:
        await self._answers("StopRun")
        run = self._run(request.job, request.attempt)
        run.stops.append(request.mode)
        if self.obeys and run.exit is None:
            if request.mode == pb.STOP_MODE_CANCEL:
                run.write(cancelled=pb.RunCancelled())
            else:
                run.write(paused=pb.RunPaused())
            run.end()
        return pb.StopRunResponse()

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        await self._answers("WatchRun")
        run = self._run(request.job, request.attempt)
        sent = request.after_run_sequence
        while True:
            changed = run.changed
            records, sent = run.records[sent:], len(run.records)
            if records:
                yield pb.WatchRunResponse(records=records)
            elif run.exit is not None:
                yield pb.WatchRunResponse(exit=run.exit)
                return
            else:
                await changed.wait()

    async def ReleaseRun(self, request: pb.ReleaseRunRequest, context: Context) -> pb.ReleaseRunResponse:
        await self._answers("ReleaseRun")
        self.runs.pop((request.job, request.attempt), None)
        return pb.ReleaseRunResponse()

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        await self._answers("ListRuns")
        runs = [pb.RunInfo(job=key[0], attempt=key[1], alive=not run.exit) for key, run in self.runs.items()]
        return pb.ListRunsResponse(runs=runs)

    async def Estimate(
        self, request: pb.TrainerServiceEstimateRequest, context: Context
    ) -> pb.TrainerServiceEstimateResponse:
        await self._answers("Estimate")
        response = pb.TrainerServiceEstimateResponse()
        response.CopyFrom(self.estimate)
        response.estimate.resolved_spec.CopyFrom(request.spec)
        return response

    async def Infer(self, request: pb.InferRequest, context: Context) -> AsyncIterator[pb.InferResponse]:
        await self._answers("Infer")
        self.questions.append(request)
        try:
            for answer in self.answers:
                yield pb.InferResponse(response=answer)
            if self.never_ends:
                await asyncio.Event().wait()
        finally:
            self.answer_ended.set()

    def _run(self, job: str, attempt: int) -> FakeRun:
        if (job, attempt) not in self.runs:
            raise TuneyardError("RUN_NOT_FOUND", "the trainer knows no such run", resource=job)
        return self.runs[job, attempt]
