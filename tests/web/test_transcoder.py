import json

import httpx
import pytest

from tests.support.fake_gateway import FakeGateway, FakeJob
from tuneyard.rpc.errors import TuneyardError, Violation
from tuneyard.v1 import job_pb2, training_service_pb2


def frames(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_a_call_is_answered_as_json(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job = job_pb2.Job(name="jobs/a", state=job_pb2.JOB_STATE_RUNNING, last_sequence=7)
    gateway.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    answer = await http.get("/v1/jobs/a")
    assert answer.json() == {"job": {"name": "jobs/a", "state": "JOB_STATE_RUNNING", "lastSequence": "7"}}
    assert gateway.requests["GetJob"][0].name == "jobs/a"


async def test_a_client_that_accepts_protobuf_gets_the_message_as_it_is(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    column = training_service_pb2.MetricColumn(name="train/loss", steps=[1, 2], values=[0.5, float("nan")])
    gateway.answer("GetJobMetrics", training_service_pb2.GetJobMetricsResponse(columns=[column]))
    answer = await http.get("/v1/jobs/a/metrics", headers={"Accept": "application/x-protobuf"})
    assert answer.headers["content-type"] == "application/x-protobuf"
    (got,) = training_service_pb2.GetJobMetricsResponse.FromString(answer.content).columns
    assert got.name == "train/loss"
    missing = await http.get("/v1/nothing", headers={"Accept": "application/x-protobuf"})
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


async def test_a_large_message_becomes_json_too(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    numbers = [0.5] * 100_000
    column = training_service_pb2.MetricColumn(name="train/loss", values=numbers)
    gateway.answer("GetJobMetrics", training_service_pb2.GetJobMetricsResponse(columns=[column]))
    answer = await http.get("/v1/jobs/a/metrics")
    assert answer.json()["columns"][0]["values"] == numbers


async def test_a_body_is_the_request(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    body = {"spec": {"dataset": "datasets/d", "imageClassifier": {"image_size": 32}}, "requestId": "r"}
    assert (await http.post("/v1/jobs:train", json=body)).status_code == 200
    request = gateway.requests["Train"][0]
    assert (request.spec.image_classifier.image_size, request.request_id) == (32, "r")


async def test_an_error_is_a_problem_with_reason_and_fields(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    violation = Violation("spec.hyperparameters.epochs", "must be at least 1")
    gateway.fail("Train", TuneyardError("INVALID_FIELD", "wrong", violations=[violation]))
    answer = await http.post("/v1/jobs:train", json={})
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["reason"]) == (400, "INVALID_FIELD")
    assert told["violations"] == [
        {"field": "spec.hyperparameters.epochs", "description": "must be at least 1"}
    ]


@pytest.mark.parametrize(
    ("reason", "status"),
    [("JOB_NOT_FOUND", 404), ("JOB_STATE_CONFLICT", 400), ("NO_FREE_SLOT", 429), ("STORE_UNAVAILABLE", 503)],
)
async def test_statuses_are_those_of_grpc(
    http: httpx.AsyncClient, gateway: FakeGateway, reason: str, status: int
) -> None:
    gateway.fail("GetJob", TuneyardError(reason, "so it is", resource="jobs/a"), times=9)
    assert (await http.get("/v1/jobs/a")).status_code == status


async def test_a_gateway_that_is_away_is_503(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    gateway.stop()
    answer = await http.get("/v1/jobs/a")
    assert (answer.status_code, "Traceback" in answer.text) == (503, False)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a": NaN}', b"\xff", b'"x"'])
async def test_a_body_that_is_no_object_is_400(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/v1/jobs:train", content=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_FIELD")


async def test_an_unknown_path_is_404_and_another_verb_405(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/nothing")).status_code == 404
    answer = await http.delete("/v1/jobs:train")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_nothing_changes_through_get(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    assert (await http.get("/v1/jobs/a:cancel")).status_code == 405
    assert gateway.calls["CancelJob"] == 0


async def test_a_jobs_events_carry_their_sequences_and_end(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    FakeJob("jobs/a", steps=5).serve(gateway)
    answer = await http.get("/v1/jobs/a:watch")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, end = frames(answer.text)
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
    assert json.loads(events[0]["data"])["sequence"] == "1"
    assert events[0]["event"] == "state_change"
    assert end["event"] == "end"


async def test_a_reconnecting_browser_goes_on_after_its_last_event(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    FakeJob("jobs/a", steps=5).serve(gateway)
    answer = await http.get("/v1/jobs/a:watch", headers={"Last-Event-ID": "3"})
    assert frames(answer.text)[0]["id"] == "4"
    assert (await http.get("/v1/jobs/a:watch", headers={"Last-Event-ID": "x"})).status_code == 400


async def test_a_stream_that_breaks_says_so(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    FakeJob("jobs/a", steps=5, per_call=2).serve(gateway)
    last = frames((await http.get("/v1/jobs/a:watch")).text)[-1]
    assert (last["event"], json.loads(last["data"])["status"]) == ("error", 503)


async def test_a_stream_that_cannot_begin_is_an_answer_of_its_own(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    gateway.fail("WatchJob", TuneyardError("JOB_NOT_FOUND", "no such job", resource="jobs/a"))
    assert (await http.get("/v1/jobs/a:watch")).status_code == 404
