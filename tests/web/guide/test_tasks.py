from datetime import timedelta

import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError, Violation
from tuneyard.v1 import (
    artifact_service_pb2,
    errors_pb2,
    job_pb2,
    training_service_pb2,
)


async def test_a_task_has_the_guides_fields(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    job = job_pb2.Job(
        name="jobs/1",
        state=job_pb2.JOB_STATE_RUNNING,
        progress=job_pb2.ProgressEvent(
            step=5, total_steps=10, epoch=1.5, total_epochs=3, fraction=0.5, stage="train"
        ),
        metrics={"train/loss": job_pb2.MetricSummary(latest=0.25)},
    )
    ready.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    told = (await http.get("/api/training/status/1")).json()
    assert (told["status"], told["progress"], told["loss"]) == ("running", 50.0, 0.25)
    assert (told["current_step"], told["total_epochs"], told["message"]) == (5, 3.0, "RUNNING: train")
    assert told["started_at"] is None


async def test_an_unknown_task_is_404_with_a_detail(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    gateway.fail("GetJob", TuneyardError("JOB_NOT_FOUND", "there is no job", resource="jobs/x"))
    answer = await http.get("/api/training/status/x")
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no job")


async def test_the_adapter_comes_as_a_zip(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    def download(request, context):
        yield artifact_service_pb2.DownloadArtifactResponse(chunk=b"PK")

    ready.on("DownloadArtifact", download)
    answer = await http.get("/api/llm-finetuning/export/1")
    assert (answer.headers["content-type"], answer.content) == ("application/zip", b"PK")
    assert ready.requests["DownloadArtifact"][0].name == "jobs/1/artifacts/adapter/"


async def test_a_merge_is_waited_for_unless_the_client_asks_otherwise(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    job = job_pb2.Job(name="jobs/2", state=job_pb2.JOB_STATE_SUCCEEDED)
    ready.answer("Merge", training_service_pb2.MergeResponse(job=job))
    ready.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    body = {"task_id": "1", "output_path": "/models/merged"}
    done = await http.post("/api/llm-finetuning/merge", json=body)
    assert done.json() == {"success": True, "path": "models/merged"}
    assert ready.requests["Merge"][0].spec.output_path == "models/merged"
    for path, json in (("merge", body), ("merge/1", None)):
        early = await http.post(f"/api/llm-finetuning/{path}", json=json, headers={"Prefer": "respond-async"})
        assert (early.status_code, early.json()) == (202, {"task_id": "2"})


@pytest.mark.parametrize(("path", "json"), [("merge", {"task_id": "1"}), ("merge/1", None)])
async def test_a_task_without_an_adapter_is_told_so_at_its_field(
    http: httpx.AsyncClient, ready: FakeGateway, path: str, json: dict[str, str] | None
) -> None:
    why = "Only adapters are merged, and this job trained all weights: its model is whole; export it."
    wrong = Violation("spec.source_job", why)
    ready.fail("Merge", TuneyardError("NOT_SUPPORTED", f"spec.source_job: {why}", violations=[wrong]))
    answer = await http.post(f"/api/llm-finetuning/{path}", json=json)
    assert (answer.status_code, answer.json()["reason"]) == (422, "NOT_SUPPORTED")
    assert answer.json()["violations"] == [{"field": "task_id", "description": why}]


@pytest.mark.parametrize("path", ["merge", "merge/1"])
async def test_a_merge_that_fails_says_why_and_which_task_it_was(
    http: httpx.AsyncClient, ready: FakeGateway, path: str
) -> None:
    error = errors_pb2.JobError(
        reason=errors_pb2.ERROR_REASON_OUT_OF_MEMORY, message="No room.", remedies=["Free some."]
    )
    job = job_pb2.Job(name="jobs/2", state=job_pb2.JOB_STATE_FAILED, error=error)
    ready.answer("Merge", training_service_pb2.MergeResponse(job=job))
    ready.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    answer = await http.post(f"/api/llm-finetuning/{path}", json={"task_id": "1"})
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["reason"]) == (422, 422, "OUT_OF_MEMORY")
    assert (problem["detail"], problem["task_id"]) == ("No room. Free some.", "2")


async def test_a_merge_that_is_cancelled_meanwhile_is_a_conflict(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    job = job_pb2.Job(name="jobs/2", state=job_pb2.JOB_STATE_CANCELLED)
    ready.answer("Merge", training_service_pb2.MergeResponse(job=job))
    ready.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    answer = await http.post("/api/llm-finetuning/merge", json={"task_id": "1"})
    assert (answer.status_code, answer.json()["task_id"]) == (409, "2")


async def test_what_is_busy_says_when_to_come_again(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    busy = TuneyardError("NO_FREE_SLOT", "no device is free", retry_after=timedelta(seconds=5))
    ready.fail("GenerateText", busy)
    answer = await http.post("/api/llm-finetuning/test", json={"task_id": "1", "prompt": "?"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


async def test_a_task_that_is_not_done_has_no_model_to_download(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    answer = await http.get("/api/training/download/1")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "task_id: 1 has no trained model: it is QUEUED: number 2 in the queue"
    assert ready.calls["DownloadArtifact"] == 0
