import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError, Violation
from tuneyard.v1 import (
    job_pb2,
    training_service_pb2,
)


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
