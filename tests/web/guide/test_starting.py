from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import (
    dataset_pb2,
    dataset_service_pb2,
)


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


@pytest.mark.parametrize("body", [{"content": '{"model_type": "llm"}'}, {"json": ["llm"]}, {}])
@pytest.mark.parametrize("path", ["training/start", "llm-finetuning/merge"])
async def test_a_body_that_is_no_json_object_says_how_to_send_one(
    http: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    problem = (await http.post(f"/api/{path}", **body)).json()
    assert (problem["status"], problem["title"]) == (422, "Unprocessable Content")
    assert problem["detail"] == "send a JSON object, with Content-Type: application/json"


async def test_a_body_that_is_no_json_says_where(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/training/start", content=b'{"epochs": }', headers=headers)
    problem = answer.json()
    assert (problem["status"], problem["violations"][0]["field"]) == (422, "")
    assert problem["detail"] == "the body is not JSON: Expecting value at character 11"


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
