import hashlib

import httpx

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import (
    dataset_pb2,
    dataset_service_pb2,
)


def waiting(received_bytes: int) -> dataset_pb2.Dataset:
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


async def test_a_form_stores_its_file_and_starts(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    form = {"base_model": "resnet18", "epochs": "2", "num_labels": "2", "image_size": "32"}
    files = {"dataset": ("pets.zip", b"PK-bytes-")}
    answer = await http.post("/api/training/image-classifier", data=form, files=files)
    assert answer.json()["success"] is True
    spec = ready.requests["Train"][0].spec
    assert (spec.dataset, spec.image_classifier.image_size) == ("datasets/pets", 32)
    assert b"".join(each.chunk for each in ready.requests["UploadDataset"][1:]) == b"PK-bytes-"


async def test_a_dataset_without_an_id_has_one_after_its_name_or_file(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    await http.post("/api/llm-finetuning/data/upload", files={"file": ("My tickets.jsonl.gz", b"{}")})
    await http.post("/api/llm-finetuning/data/upload", files={"file": ("工单.jsonl", b"{}")})
    named = {"type": "llm", "name": "Last year"}
    await http.post("/api/training/datasets/upload", files={"file": ("a.jsonl", b"{}")}, data=named)
    called = [(each.dataset_id, each.display_name) for each in ready.requests["CreateDataset"]]
    assert called == [("My-tickets", "My tickets.jsonl.gz"), ("", "工单.jsonl"), ("Last-year", "Last year")]


async def test_a_forms_job_has_a_name_where_its_files_leaves_no_id(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    for file in ("工单.jsonl", "tickets.jsonl"):
        files = {"dataset": (file, b"{}")}
        await http.post("/api/llm-finetuning/lora", data={"base_model": "org/mistral-7b"}, files=files)
    assert [dict(each.labels) for each in ready.requests["Train"]] == [{"name": "工单-mistral-7b"}, {}]


async def test_another_file_of_the_same_name_is_told_apart_and_deletes_nothing(
    http: httpx.AsyncClient, ready: FakeGateway
) -> None:
    headers = {"Idempotency-Key": "k"}
    form = {"base_model": "mistral-7b"}
    for _ in range(2):
        ready.fail("CreateDataset", TuneyardError("ALREADY_EXISTS", "datasets/tickets exists already"))
        files = {"dataset": ("tickets.jsonl", b"{}")}
        answer = await http.post("/api/llm-finetuning/lora", data=form, files=files, headers=headers)
        assert answer.status_code == 200
    taken, first, _, again = ready.requests["CreateDataset"]
    assert first.dataset_id.startswith("tickets-")
    assert first == again
    assert first.request_id != taken.request_id
    assert not ready.calls["DeleteDataset"]


async def test_the_same_file_again_is_the_same_dataset(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    stored = dataset_pb2.Dataset(
        name="datasets/tickets",
        state=dataset_pb2.DATASET_STATE_READY,
        format=dataset_pb2.DATASET_FORMAT_JSONL,
        size_bytes=2,
        sha256=hashlib.sha256(b"{}").hexdigest(),
    )
    ready.answer("GetDataset", dataset_service_pb2.GetDatasetResponse(dataset=stored))
    for content, made in ((b"{}", 1), (b"[]", 3)):
        ready.fail("CreateDataset", TuneyardError("ALREADY_EXISTS", "datasets/tickets exists already"))
        answer = await http.post(
            "/api/llm-finetuning/data/upload", files={"file": ("tickets.jsonl", content)}
        )
        assert answer.status_code == 200
        assert ready.calls["CreateDataset"] == made


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


async def test_an_empty_file_is_refused_at_its_field(http: httpx.AsyncClient, ready: FakeGateway) -> None:
    answer = await http.post(
        "/api/training/datasets/upload", files={"file": ("a.zip", b"")}, data={"type": "image_classifier"}
    )
    assert (answer.status_code, answer.json()["detail"]) == (422, "file: is empty")
    assert not ready.calls["CreateDataset"]
