"""A gateway for tests of clients: real gRPC on a real socket, answers and faults as a test scripts them."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_status import rpc_status

from tuneyard.rpc.errors import TuneyardError, to_status
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_pb2,
    dataset_service_pb2,
    event_pb2,
    inference_service_pb2,
    job_pb2,
    model_service_pb2,
    system_service_pb2,
    training_service_pb2,
)

PUBLIC_SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for module in (
        artifact_service_pb2,
        dataset_service_pb2,
        inference_service_pb2,
        model_service_pb2,
        system_service_pb2,
        training_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)

Handler = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Fault:
    """What the next calls of a method end with, instead of or after their handler."""

    error: TuneyardError | grpc.StatusCode
    after_handler: bool = False


@dataclass
class FakeGateway:
    """Answers every public RPC: by a handler of the test's, else with an empty message."""

    address: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    requests: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    _handlers: dict[str, Handler] = field(default_factory=dict)
    _faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    _server: grpc.Server | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Listens; after `stop`, on the same port again."""
        server = grpc.server(futures.ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        for service in PUBLIC_SERVICES:
            handlers = {method.name: self._method_handler(method) for method in service.methods}
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, handlers),)
            )
        port = server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        server.start()
        self._server = server

    def stop(self) -> None:
        """Cuts every call and refuses connections."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def on(self, method: str, handler: Handler) -> None:
        """Answers calls of a method with what the handler returns, or yields where the method streams."""
        self._handlers[method] = handler

    def answer(self, method: str, response: Message) -> None:
        """Answers calls of a method with one message."""
        self._handlers[method] = lambda request, context: response

    def fail(
        self, method: str, error: TuneyardError | grpc.StatusCode, *, times: int = 1, after: bool = False
    ) -> None:
        """Ends the next calls of a method with an error; `after`: once its handler ran, as if lost."""
        self._faults[method] += [Fault(error, after)] * times

    def recover(self, method: str) -> None:
        """Ends no more calls of a method with an error."""
        self._faults[method].clear()

    def _method_handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        kind = ("stream" if method.client_streaming else "unary") + (
            "_stream" if method.server_streaming else "_unary"
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        behaviour = self._streaming(method) if method.server_streaming else self._single(method)
        return make(  # type: ignore[no-any-return]
            behaviour,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _single(self, method: MethodDescriptor) -> Handler:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            fault = self._note(method, request, context)
            if fault is not None and not fault.after_handler:
                _abort(context, fault.error)
            handler = self._handlers.get(method.name)
            if handler is None:
                if method.client_streaming:
                    self.requests[method.name] = list(request)
                response: Any = message_factory.GetMessageClass(method.output_type)()
            else:
                response = handler(request, context)
            if fault is not None:
                _abort(context, fault.error)
            return response

        return call

    def _streaming(self, method: MethodDescriptor) -> Handler:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            fault = self._note(method, request, context)
            if fault is not None and not fault.after_handler:
                _abort(context, fault.error)
            handler = self._handlers.get(method.name)
            if handler is not None:
                yield from handler(request, context)
            if fault is not None:
                _abort(context, fault.error)

        return call

    def _note(self, method: MethodDescriptor, request: Any, context: grpc.ServicerContext) -> Fault | None:
        with self._lock:
            self.calls[method.name] += 1
            self.metadata[method.name] = dict(context.invocation_metadata())
            if not method.client_streaming:
                self.requests[method.name].append(request)
            faults = self._faults[method.name]
            return faults.pop(0) if faults else None


def _abort(context: grpc.ServicerContext, error: TuneyardError | grpc.StatusCode) -> None:
    if isinstance(error, TuneyardError):
        context.abort_with_status(rpc_status.to_status(to_status(error)))
    else:
        context.abort(error, "scripted")


def abort(context: grpc.ServicerContext, error: TuneyardError) -> None:
    """Ends a call with an error as a real gateway would."""
    _abort(context, error)


class FakeJob:
    """One job with an event log, served by WatchJob and GetJob; WatchJob breaks off after `per_call`."""

    def __init__(self, name: str, *, steps: int = 10, per_call: int | None = None) -> None:
        self.job = job_pb2.Job(name=name, state=job_pb2.JOB_STATE_SUCCEEDED)
        self.events = list(_events_of(steps))
        self.job.last_sequence = len(self.events)
        self.per_call = per_call

    def serve(self, gateway: FakeGateway) -> None:
        """Lets a gateway answer for this job."""
        gateway.on("WatchJob", self._watch)
        gateway.on("GetJob", lambda request, context: training_service_pb2.GetJobResponse(job=self.job))
        gateway.on("Train", lambda request, context: training_service_pb2.TrainResponse(job=self.job))

    def _watch(
        self, request: training_service_pb2.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[training_service_pb2.WatchJobResponse]:
        yield training_service_pb2.WatchJobResponse()
        following = self.events[request.after_sequence :][: self.per_call]
        for start in range(0, len(following), 3):
            yield training_service_pb2.WatchJobResponse(events=following[start : start + 3])
        reached = request.after_sequence + len(following)
        if reached < len(self.events):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway went away")


def _events_of(steps: int) -> Iterator[event_pb2.JobEvent]:
    def change(
        before: "job_pb2.JobState.ValueType", after: "job_pb2.JobState.ValueType"
    ) -> event_pb2.StateChangeEvent:
        return event_pb2.StateChangeEvent(**{"from": before}, to=after)  # type: ignore[arg-type]

    states = job_pb2
    bodies: list[dict[str, Any]] = [
        {"state_change": change(states.JOB_STATE_UNSPECIFIED, states.JOB_STATE_QUEUED)},
        {"state_change": change(states.JOB_STATE_QUEUED, states.JOB_STATE_STARTING)},
        {"state_change": change(states.JOB_STATE_STARTING, states.JOB_STATE_RUNNING)},
        {"stage": event_pb2.StageEvent(name="train")},
        *(
            {
                "metrics": event_pb2.MetricsEvent(
                    step=step, epoch=step / steps, values={"train/loss": 1 / step}
                )
            }
            for step in range(1, steps + 1)
        ),
        {"result": event_pb2.ResultEvent(metrics={"eval/accuracy_top1": 0.98}, step=steps)},
        {"state_change": change(states.JOB_STATE_FINALIZING, states.JOB_STATE_SUCCEEDED)},
    ]
    for sequence, body in enumerate(bodies, start=1):
        yield event_pb2.JobEvent(sequence=sequence, attempt=1, **body)


class FakeDatasets:
    """Takes uploads as a gateway does; `cut_after` bytes each of the first `cuts` calls breaks off."""

    def __init__(self, *, cuts: int = 0, cut_after: int = 0) -> None:
        self.datasets: dict[str, dataset_pb2.Dataset] = {}
        self.bytes: dict[str, bytearray] = {}
        self.announced: dict[str, str] = {}
        self.cuts, self.cut_after = cuts, cut_after

    def serve(self, gateway: FakeGateway) -> None:
        """Lets a gateway answer for these datasets."""
        gateway.on("CreateDataset", self._create)
        gateway.on("UploadDataset", self._upload)
        gateway.on("GetDataset", self._get)

    def _create(
        self, request: dataset_service_pb2.CreateDatasetRequest, context: grpc.ServicerContext
    ) -> dataset_service_pb2.CreateDatasetResponse:
        name = f"datasets/{request.dataset_id}"
        if name in self.datasets:
            _abort(context, TuneyardError("ALREADY_EXISTS", f"{name} exists", resource=name))
        self.datasets[name] = dataset_pb2.Dataset(
            name=name,
            display_name=request.display_name,
            format=request.format,
            size_bytes=request.size_bytes,
            state=dataset_pb2.DATASET_STATE_UPLOADING,
            upload=dataset_pb2.Upload(),
        )
        self.bytes[name], self.announced[name] = bytearray(), request.sha256
        return dataset_service_pb2.CreateDatasetResponse(dataset=self.datasets[name])

    def _upload(
        self, requests: Iterable[dataset_service_pb2.UploadDatasetRequest], context: grpc.ServicerContext
    ) -> dataset_service_pb2.UploadDatasetResponse:
        stream = iter(requests)
        header = next(stream).header
        stored = self.bytes[header.name]
        if header.offset != len(stored):
            _abort(context, TuneyardError("UPLOAD_OFFSET_MISMATCH", f"at {len(stored)}"))
        dataset = self.datasets[header.name]
        taken = 0
        for request in stream:
            stored += request.chunk
            taken += len(request.chunk)
            dataset.upload.received_bytes = len(stored)
            if self.cuts and taken >= self.cut_after:
                self.cuts -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        if len(stored) >= dataset.size_bytes:
            dataset.state = dataset_pb2.DATASET_STATE_READY
            dataset.sha256 = self.announced[header.name]
            dataset.ClearField("upload")
        return dataset_service_pb2.UploadDatasetResponse(dataset=dataset)

    def _get(
        self, request: dataset_service_pb2.GetDatasetRequest, context: grpc.ServicerContext
    ) -> dataset_service_pb2.GetDatasetResponse:
        if request.name not in self.datasets:
            _abort(context, TuneyardError("DATASET_NOT_FOUND", "no such dataset", resource=request.name))
        return dataset_service_pb2.GetDatasetResponse(dataset=self.datasets[request.name])
