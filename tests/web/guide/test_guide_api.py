from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError, Violation
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_pb2,
    dataset_service_pb2,
    errors_pb2,
    job_pb2,
    training_service_pb2,
)
from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig


def waiting(received_bytes: int = 0) -> dataset_pb2.Dataset:
    """A dataset that waits for more bytes."""
    return dataset_pb2.Dataset(
        name="datasets/pets",
        state=dataset_pb2.DATASET_STATE_UPLOADING,
        upload=dataset_pb2.Upload(received_bytes=received_bytes),
    )


def refused() -> dataset_pb2.Dataset:
    """A dataset whose check ended badly."""
    finding = dataset_pb2.Finding(severity=dataset_pb2.SEVERITY_ERROR, message="no ZIP")
    return dataset_pb2.Dataset(
        name="datasets/pets",
        state=dataset_pb2.DATASET_STATE_INVALID,
        report=dataset_pb2.ValidationReport(findings=[finding]),
    )


@pytest.fixture
def ready(gateway: FakeGateway) -> FakeGateway:
    dataset = dataset_pb2.Dataset(
        name="datasets/pets",
        display_name="pets",
        format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
        state=dataset_pb2.DATASET_STATE_READY,
        size_bytes=9,
        report=dataset_pb2.ValidationReport(classes=["cat", "dog"], samples=40),
    )
    gateway.answer("GetDataset", dataset_service_pb2.GetDatasetResponse(dataset=dataset))
    gateway.answer("CreateDataset", dataset_service_pb2.CreateDatasetResponse(dataset=waiting()))

    def uploaded(requests, context):
        gateway.requests["UploadDataset"] += list(requests)
        return dataset_service_pb2.UploadDatasetResponse(dataset=dataset)

    gateway.on("UploadDataset", uploaded)
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_QUEUED, queue_position=2)
    gateway.answer("Train", training_service_pb2.TrainResponse(job=job))
    gateway.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    return gateway


async def test_a_training_starts_from_the_guides_json(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    body = {
        "model_type": "image_classifier",
        "base_model": "resnet50",
        "dataset_path": "/datasets/pets",
        "epochs": 15,
        "batch_size": 16,
        "learning_rate": 0.0001,
    }
    answer = await http.post("/api/training/start", json=body)
    assert answer.json() == {"task_id": "1"}
    spec = ready.requests["Train"][0].spec
    assert (spec.dataset, spec.base_model, spec.hyperparameters.epochs) == ("datasets/pets", "resnet50", 15)


async def test_the_same_key_makes_one_job(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    body = {"model_type": "image_classifier", "base_model": "resnet50", "dataset_path": "pets"}
    for _ in range(2):
        await http.post("/api/training/start", json=body, headers={"Idempotency-Key": "k"})
    first, second = ready.requests["Train"]
    assert first.request_id == second.request_id != ""


async def test_a_folder_of_the_server_is_imported(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    ready.fail("GetDataset", TuneyardError("DATASET_NOT_FOUND", "no"))
    imported = dataset_pb2.Dataset(name="datasets/new")
    ready.answer("ImportDataset", dataset_service_pb2.ImportDatasetResponse(dataset=imported))
    body = {"model_type": "object_detector", "base_model": "yolov8n", "dataset_path": "/datasets/my_set"}
    assert (await http.post("/api/training/start", json=body)).status_code == 200
    request = ready.requests["ImportDataset"][0]
    assert (request.source, request.format) == ("/datasets/my_set", dataset_pb2.DATASET_FORMAT_YOLO)
    assert ready.requests["Train"][0].spec.dataset == "datasets/new"


async def test_a_key_that_comes_again_imports_a_folder_once(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    ready.fail("GetDataset", TuneyardError("DATASET_NOT_FOUND", "no"), times=3)
    imported = dataset_pb2.Dataset(name="datasets/new")
    ready.answer("ImportDataset", dataset_service_pb2.ImportDatasetResponse(dataset=imported))
    body = {"model_type": "image_classifier", "base_model": "resnet50", "dataset_path": "/data/pets"}
    for key in ("k", "k", "l"):
        await http.post("/api/training/start", json=body, headers={"Idempotency-Key": key})
    first, second, other = (each.request_id for each in ready.requests["ImportDataset"])
    assert first == second != other
    assert ready.requests["ImportDataset"][0].display_name == "pets"


async def test_a_dataset_is_found_by_its_title(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    listed = dataset_service_pb2.ListDatasetsResponse(
        datasets=[
            dataset_pb2.Dataset(name="datasets/7", display_name="my pets"),
            dataset_pb2.Dataset(
                name="datasets/6", display_name="my pets", state=dataset_pb2.DATASET_STATE_INVALID
            ),
        ]
    )
    ready.answer("ListDatasets", listed)
    body = {"model_type": "image_classifier", "base_model": "resnet50"}
    for path in ("my pets", "/datasets/my pets"):
        await http.post("/api/training/start", json={**body, "dataset_path": path})
    assert [each.spec.dataset for each in ready.requests["Train"]] == ["datasets/7"] * 2


async def test_a_title_of_two_datasets_names_both(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    twins = [dataset_pb2.Dataset(name=f"datasets/{id}", display_name="my pets") for id in "67"]
    ready.answer("ListDatasets", dataset_service_pb2.ListDatasetsResponse(datasets=twins))
    body = {"model_type": "image_classifier", "base_model": "resnet50", "dataset_path": "my pets"}
    answer = await http.post("/api/training/start", json=body)
    assert (answer.status_code, ready.calls["Train"]) == (422, 0)
    assert "datasets/6, datasets/7" in answer.json()["detail"]


async def test_an_estimate_waits_for_a_folder_and_keeps_nothing(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    imported = dataset_pb2.Dataset(name="datasets/new", state=dataset_pb2.DATASET_STATE_VALIDATING)
    ready.answer("ImportDataset", dataset_service_pb2.ImportDatasetResponse(dataset=imported))
    body = {"model_type": "image_classifier", "base_model": "resnet50", "dataset_path": "/data/all/pets"}
    assert (await http.post("/api/training/estimate", json=body)).status_code == 200
    assert ready.requests["Estimate"][0].spec.dataset == "datasets/new"
    assert [each.name for each in ready.requests["DeleteDataset"]] == ["datasets/new"]


async def test_wrong_settings_of_an_estimate_import_nothing(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    body = {"model_type": "llm", "base_model": "m", "dataset_path": "/data/all/pets", "lora_rank": 8}
    answer = await http.post("/api/training/estimate", json=body)
    assert (answer.status_code, ready.calls["ImportDataset"]) == (422, 0)


async def test_violations_come_back_in_flat_names(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    violation = Violation("spec.hyperparameters.epochs", "must be at least 1; it is 0")
    ready.fail("Train", TuneyardError("INVALID_FIELD", "wrong", violations=[violation]))
    body = {"model_type": "image_classifier", "base_model": "m", "dataset_path": "pets", "epochs": 0}
    answer = await http.post("/api/training/start", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, "epochs: must be at least 1; it is 0")


@pytest.mark.parametrize(
    ("method", "call", "body", "of_server", "field", "own"),
    [
        ("GET", "training/status/1", None, "GetJob", "name", "task_id"),
        ("POST", "training/stop/1", None, "CancelJob", "name", "task_id"),
        ("GET", "training/checkpoints/1", None, "ListCheckpoints", "parent", "task_id"),
        ("GET", "llm-finetuning/export/1", None, "DownloadArtifact", "name", "task_id"),
        ("DELETE", "training/datasets/1", None, "DeleteDataset", "name", "dataset_id"),
        ("POST", "llm-finetuning/test", {"task_id": "1", "prompt": "?"}, "GenerateText", "job", "task_id"),
        (
            "POST",
            "llm-finetuning/test",
            {"task_id": "1", "prompt": "?"},
            "GenerateText",
            "messages[0].content",
            "prompt",
        ),
        ("POST", "llm-finetuning/merge", {"task_id": "1"}, "Merge", "spec.source_job", "task_id"),
        ("POST", "llm-finetuning/merge/1", None, "Merge", "spec.source_job", "task_id"),
        (
            "POST",
            "llm-finetuning/merge",
            {"task_id": "1", "output_path": "x"},
            "Merge",
            "spec.output_path",
            "output_path",
        ),
        (
            "POST",
            "training/start",
            {"model_type": "llm", "base_model": "m", "dataset_path": "d", "output_dir": "o"},
            "Train",
            'labels["output_dir"]',
            "output_dir",
        ),
        (
            "POST",
            "training/start",
            {"model_type": "llm", "base_model": "m", "dataset_path": "d"},
            "Train",
            "spec.dataset",
            "dataset_path",
        ),
        (
            "POST",
            "training/estimate",
            {"model_type": "text_to_image", "base_model": "m", "dataset_path": "d", "image_size": 8},
            "Estimate",
            "spec.text_to_image_lora.resolution",
            "image_size",
        ),
    ],
)
async def test_violations_name_what_the_caller_wrote(
    http: httpx.AsyncClient,
    ready: FakeGateway,
    method: str,
    call: str,
    body: dict[str, object] | None,
    of_server: str,
    field: str,
    own: str,
) -> None:
    ready.fail(of_server, TuneyardError("INVALID_FIELD", "no", violations=[Violation(field, "is wrong")]))
    answer = await http.request(method, f"/api/{call}", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, f"{own}: is wrong")
    assert answer.json()["violations"] == [{"field": own, "description": "is wrong"}]


async def test_an_upload_is_told_its_own_names(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    wrong = [Violation("display_name", "is too long"), Violation("size_bytes", "is too large")]
    for form, name in (({"name": "n n"}, "name"), ({}, "file")):
        ready.fail("CreateDataset", TuneyardError("INVALID_FIELD", "no", violations=wrong))
        answer = await http.post(
            "/api/training/datasets/upload", data={"type": "llm", **form}, files={"file": ("a", b"x")}
        )
        assert [each["field"] for each in answer.json()["violations"]] == [name, "file"]


async def test_a_form_is_told_its_own_names(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    wrong = [Violation("spec.dataset", "is wrong"), Violation("spec.image_classifier.image_size", "no")]
    ready.fail("Train", TuneyardError("INVALID_FIELD", "no", violations=wrong))
    files = {"dataset": ("pets.zip", b"x")}
    form = {"base_model": "resnet18", "image_size": "3"}
    answer = await http.post("/api/training/image-classifier", data=form, files=files)
    assert [each["field"] for each in answer.json()["violations"]] == ["dataset", "image_size"]


async def test_an_estimate_speaks_in_the_callers_names(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    estimate = job_pb2.Estimate(
        given_fields=["hyperparameters.epochs", "text_to_image_lora.resolution"],
        violations=[{"field": "spec.text_to_image_lora.resolution", "description": "is wrong"}],
        warnings=[{"field": "spec.hyperparameters.epochs", "description": "is unusual"}],
        alternatives=[job_pb2.Alternative(changes={"hyperparameters.batch_size": "1"})],
    )
    ready.answer("Estimate", training_service_pb2.EstimateResponse(estimate=estimate))
    settings = {"image_size": 8, "hyperparameters": {"epochs": 900}}
    body = {"model_type": "text_to_image", "base_model": "m", "dataset_path": "pets"}
    told = (await http.post("/api/training/estimate", json=body | settings)).json()
    assert told["given_fields"] == ["hyperparameters.epochs", "image_size"]
    assert told["violations"] == [{"field": "image_size", "description": "is wrong"}]
    assert told["warnings"][0]["field"] == "hyperparameters.epochs"
    assert told["alternatives"][0]["changes"] == {"hyperparameters.batch_size": "1"}


@pytest.mark.parametrize(
    "body",
    [{}, {"model_type": "image_classifier"}, {"base_model": 3, "dataset_path": "x", "model_type": "llm"}],
)
async def test_a_body_that_lacks_something_is_422_with_a_text(
    http: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await http.post("/api/training/start", json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


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


async def test_a_form_stores_its_file_and_starts(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    form = {"base_model": "resnet18", "epochs": "2", "num_labels": "2", "image_size": "32"}
    files = {"dataset": ("pets.zip", b"PK-bytes-")}
    answer = await http.post("/api/training/image-classifier", data=form, files=files)
    assert answer.json()["success"] is True
    spec = ready.requests["Train"][0].spec
    assert (spec.dataset, spec.image_classifier.image_size) == ("datasets/pets", 32)
    assert b"".join(each.chunk for each in ready.requests["UploadDataset"][1:]) == b"PK-bytes-"


async def test_a_form_that_comes_again_with_its_key_goes_on(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    ready.answer("CreateDataset", dataset_service_pb2.CreateDatasetResponse(dataset=waiting(4)))
    form, headers = {"base_model": "resnet18"}, {"Idempotency-Key": "k"}
    for _ in range(2):
        files = {"dataset": ("pets.zip", b"PK-bytes-")}
        await http.post("/api/training/image-classifier", data=form, files=files, headers=headers)
    first, second = ready.requests["CreateDataset"]
    assert first.request_id == second.request_id != ""
    header, *rest = ready.requests["UploadDataset"][:2]
    assert (header.header.offset, b"".join(each.chunk for each in rest)) == (4, b"ytes-")


async def test_a_dataset_that_was_refused_gives_way(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    ready.answer("GetDataset", dataset_service_pb2.GetDatasetResponse(dataset=refused()))
    ready.fail("CreateDataset", TuneyardError("ALREADY_EXISTS", "datasets/pets exists already"))
    answer = await http.post(
        "/api/training/datasets/upload",
        data={"type": "image_classifier", "name": "pets"},
        files={"file": ("pets.zip", b"x")},
    )
    assert [each.name for each in ready.requests["DeleteDataset"]] == ["datasets/pets"]
    assert answer.json()["violations"] == [{"field": "file", "description": "no ZIP"}]


async def test_a_dataset_that_can_be_used_keeps_its_name(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    ready.fail("CreateDataset", TuneyardError("ALREADY_EXISTS", "datasets/pets exists already"))
    answer = await http.post(
        "/api/training/datasets/upload",
        data={"type": "image_classifier", "name": "pets"},
        files={"file": ("pets.zip", b"x")},
    )
    assert (answer.status_code, ready.calls["DeleteDataset"]) == (409, 0)


async def test_a_forms_findings_are_at_its_field(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    ready.answer("GetDataset", dataset_service_pb2.GetDatasetResponse(dataset=refused()))
    files = {"dataset": ("pets.zip", b"junk")}
    answer = await http.post("/api/training/image-classifier", data={"base_model": "resnet18"}, files=files)
    assert answer.json()["violations"] == [{"field": "dataset", "description": "no ZIP"}]


async def test_a_forms_field_that_comes_several_times_is_a_list(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    form = {"base_model": "mistral-7b", "target_modules": ["q_proj", "v_proj"], "lora_r": "4"}
    files = {"dataset": ("tickets.jsonl", b"{}")}
    assert (await http.post("/api/llm-finetuning/lora", data=form, files=files)).status_code == 200
    lora = ready.requests["Train"][0].spec.language_model.lora
    assert (list(lora.target_modules), lora.lora_r) == (["q_proj", "v_proj"], 4)


async def test_a_wrong_number_of_labels_starts_nothing(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    files = {"dataset": ("pets.zip", b"x")}
    form = {"base_model": "resnet18", "num_labels": "3"}
    answer = await http.post("/api/training/image-classifier", data=form, files=files)
    assert (answer.status_code, ready.calls["Train"]) == (422, 0)
    assert "2 classes" in answer.json()["detail"]


async def test_an_upload_answers_with_its_samples(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    answer = await http.post(
        "/api/training/datasets/upload",
        data={"type": "image_classifier", "name": "pets"},
        files={"file": ("pets.zip", b"x")},
    )
    assert answer.json()["samples"] == 40
    assert ready.requests["CreateDataset"][0].dataset_id == "pets"


async def test_the_list_says_which_datasets_can_be_used(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    usable = dataset_pb2.Dataset(name="datasets/cats", state=dataset_pb2.DATASET_STATE_READY)
    checking = dataset_pb2.Dataset(name="datasets/new", state=dataset_pb2.DATASET_STATE_VALIDATING)
    bad, begun = refused(), waiting(4)
    bad.report.counts["NOT_A_ZIP"], begun.size_bytes = 1, 9
    listed = dataset_service_pb2.ListDatasetsResponse(datasets=[usable, checking, bad, begun])
    ready.answer("ListDatasets", listed)
    told = (await http.get("/api/training/datasets")).json()
    assert [each["status"] for each in told] == ["ready", "validating", "invalid", "uploading"]
    assert [each["message"] for each in told] == [
        "",
        "it is being checked",
        "it was refused: NOT_A_ZIP; see /v1/datasets/pets, and delete it",
        "4 of 9 bytes have arrived: go on with its upload, or delete it",
    ]


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


async def test_a_body_that_is_no_json_says_where(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/training/start", content=b'{"epochs": }', headers=headers)
    problem = answer.json()
    assert (problem["status"], problem["violations"][0]["field"]) == (422, "")
    assert problem["detail"] == "the body is not JSON: Expecting value at character 11"


@pytest.mark.parametrize("path", ["/ws/training", "/api/ws/training", "/ws/training/1"])
def test_a_socket_tells_states_and_answers_pings(ready: FakeGateway, config: WebConfig, path: str) -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_RUNNING)

    def watch(request, context):
        yield training_service_pb2.WatchJobsResponse(jobs=[job])

    ready.on("WatchJobs", watch)
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        client.websocket_connect(path, headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        socket.send_json({"type": "ping"})
        seen: dict[str, object] = {}
        while {"pong", "status", "progress"} - seen.keys():
            frame = socket.receive_json()
            seen[frame["type"]] = frame
    assert seen["status"]["data"]["status"] == "running"
    assert seen["progress"]["task_id"] == "1"


def test_a_socket_of_a_task_that_is_not_there_says_so(config: WebConfig, gateway: FakeGateway) -> None:
    gateway.fail("GetJob", TuneyardError("JOB_NOT_FOUND", "there is no job jobs/1", resource="jobs/1"))
    gateway.on("WatchJobs", lambda request, context: iter([training_service_pb2.WatchJobsResponse()]))
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        client.websocket_connect("/ws/training/1", headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        frame = socket.receive_json()
    assert frame == {"type": "error", "data": {"task_id": "1", "message": "there is no job jobs/1"}}


def test_another_sites_page_opens_no_socket(ready: FakeGateway, config: WebConfig) -> None:
    headers = {"host": "127.0.0.1:8000", "origin": "https://evil.example"}
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/ws/training", headers=headers),
    ):
        pass
    assert caught.value.code == 1008


def test_a_frame_of_bytes_is_told_and_the_socket_stays(config: WebConfig, gateway: FakeGateway) -> None:
    gateway.on("WatchJobs", lambda request, context: iter([training_service_pb2.WatchJobsResponse()]))
    with (
        TestClient(make_app(config)) as client,
        client.websocket_connect("/ws/training", headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        socket.send_bytes(b"\xff")
        assert socket.receive_json()["type"] == "error"
        socket.send_json({"type": "ping"})
        assert socket.receive_json() == {"type": "pong"}


async def test_a_body_that_would_fill_the_memory_is_413(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b" " * (1 << 20)

    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/training/start", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (413, "the request's body has more than 4 MiB")
    assert sent < 10


async def test_an_empty_file_is_refused_at_its_field(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    answer = await http.post(
        "/api/training/datasets/upload", files={"file": ("a.zip", b"")}, data={"type": "image_classifier"}
    )
    assert (answer.status_code, answer.json()["detail"]) == (422, "file: is empty")
    assert not ready.calls["CreateDataset"]
