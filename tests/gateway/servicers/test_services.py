"""Properties of all public services: each RPC is served, each declared rule holds."""

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.support.edge import Edge, refusal
from tuneyard.gateway.app import SERVICES
from tuneyard.rpc.validation import validate
from tuneyard.v1 import system_service_pb2

_POOL = descriptor_pool.Default()
METHODS = [method for service in SERVICES for method in _POOL.FindServiceByName(service).methods]


_NAMES = ("training", "dataset", "model", "artifact", "inference", "system")


def test_every_public_service_is_served() -> None:
    files = [_POOL.FindFileByName(f"tuneyard/v1/{name}_service.proto") for name in _NAMES]
    declared = {service.full_name for file in files for service in file.services_by_name.values()}
    assert declared == set(SERVICES)


async def test_an_empty_request_is_answered_or_refused_by_its_rules(edge: Edge) -> None:
    for method in METHODS:
        await _send_empty(edge, method)


async def _send_empty(edge: Edge, method: MethodDescriptor) -> None:
    request = GetMessageClass(method.input_type)()
    stub = _call(edge, method)
    call = stub(iter([request]) if method.client_streaming else request)
    if method.name in {"Estimate", "WatchJobs"} or not (validate(request) or method.client_streaming):
        await call.read() if method.server_streaming else await call
        call.cancel()
    else:
        assert (await refusal(call)).reason == "INVALID_FIELD", method.full_name


def _call(edge: Edge, method: MethodDescriptor) -> Any:
    services = {
        "TrainingService": edge.training,
        "DatasetService": edge.datasets,
        "ModelService": edge.models,
        "ArtifactService": edge.artifacts,
        "InferenceService": edge.inference,
        "SystemService": edge.system,
    }
    return getattr(services[method.containing_service.name], method.name)


async def test_no_model_is_tried_of_a_job_that_is_not_there(edge: Edge) -> None:
    for method in METHODS:
        if method.containing_service.name != "InferenceService":
            continue
        request = GetMessageClass(method.input_type)()
        _fill_required(request)
        assert (await refusal(_call(edge, method)(request))).reason == "JOB_NOT_FOUND"


def _fill_required(request: Any) -> None:
    for violation in validate(request):
        field = request.DESCRIPTOR.fields_by_name[violation.field.partition("[")[0]]
        if field.message_type and field.is_repeated:
            getattr(request, field.name).add()
        elif field.is_repeated:
            getattr(request, field.name).append("x")
        elif field.message_type:
            getattr(request, field.name).SetInParent()
        else:
            setattr(request, field.name, "jobs/x")
    if request.DESCRIPTOR.fields and validate(request):
        for image in getattr(request, "images", ()):
            image.content = b"x"


async def test_the_system_tells_of_itself_and_its_trainers(edge: Edge) -> None:
    info = await edge.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
    trainers = (await edge.system.ListTrainers(system_service_pb2.ListTrainersRequest())).trainers
    assert (info.store_kind, info.database_kind, info.auth_required) == ("folder", "sqlite", False)
    assert info.store_free_bytes > 0
    assert len(trainers) == 1
