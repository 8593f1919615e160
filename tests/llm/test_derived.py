from typing import Any

import pytest

from tuneyard.llm.catalogue import find
from tuneyard.llm.derived import merge_bytes
from tuneyard.llm.estimate import estimate
from tuneyard.llm.memory import HOST_BASE_BYTES
from tuneyard.llm.proof_size import ROW_TOKENS, proof_row_count
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, trainer_service_pb2, training_pb2

METHODS = {name.rpartition("_")[2].lower(): value for name, value in training_pb2.FineTuningMethod.items()}
NOT_SUPPORTED, INVALID = errors_pb2.ERROR_REASON_NOT_SUPPORTED, errors_pb2.ERROR_REASON_INVALID_FIELD


def answer(
    kind: str, method: str = "lora", *, layout: str = "JSONL", **fields: Any
) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    request = trainer_service_pb2.TrainerServiceEstimateRequest()
    training = request.source_spec.training
    training.dataset, training.base_model = "datasets/own", "llama-2-7b"
    training.language_model.method = METHODS[method]
    spec: Any = getattr(request.spec, kind)
    spec.source_job = "jobs/1"
    for name, value in fields.items():
        setattr(spec, name, value)
    request.dataset.format = dataset_pb2.DatasetFormat.Value(f"DATASET_FORMAT_{layout}")
    request.dataset.report.splits.add(split="train", samples=90)
    return estimate(request, [])


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_merge_needs_disk_for_two_models_and_memory_for_one_tensor(method: str) -> None:
    known, found = find("llama-2-7b"), answer("merge", method, output_path="models/merged")
    assert known and found.reason == 0
    assert found.estimate.resolved_spec.merge.output_path == "models/merged"
    assert found.estimate.artifact_bytes == 2 * known.facts.parameters
    assert found.estimate.disk_bytes == 4 * known.facts.parameters
    assert found.estimate.fits and 0 < found.estimate.memory.host_bytes < 3e9


def test_the_memory_of_a_merge_holds_the_answers_of_its_proof() -> None:
    known = find("llama-2-7b")
    assert known
    of_three_models = 3 * 4 * known.facts.vocab_size * proof_row_count(known.facts.vocab_size) * ROW_TOKENS
    head = 4 * known.facts.vocab_size * known.facts.hidden_size
    assert merge_bytes(known.facts) > HOST_BASE_BYTES + head + of_three_models


def test_a_full_fine_tuning_has_nothing_to_merge() -> None:
    found = answer("merge", "full")
    assert found.reason == NOT_SUPPORTED
    assert "export it" in found.estimate.violations[0].description


@pytest.mark.parametrize(
    ("method", "format", "offered"),
    [
        ("lora", "ADAPTER", True),
        ("qlora", "ADAPTER", True),
        ("full", "SAFETENSORS", True),
        ("lora", "SAFETENSORS", False),
        ("full", "ADAPTER", False),
        ("lora", "ONNX", False),
        ("full", "KOHYA", False),
        ("full", "OPENVINO", False),
    ],
)
def test_adapters_are_exported_as_such_and_whole_models_as_safetensors(
    method: str, format: str, offered: bool
) -> None:
    found = answer("export", method, format=job_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{format}"))
    assert (found.reason == 0) is offered
    if not offered:
        assert found.reason == NOT_SUPPORTED
        expected = "safetensors" if method == "full" else "adapter"
        assert f"Offered: {expected}." in found.estimate.violations[0].description


def test_safetensors_of_an_adapter_are_made_by_a_merge() -> None:
    found = answer("export", format=job_pb2.EXPORT_FORMAT_SAFETENSORS)
    assert "tuneyard merge" in found.estimate.violations[0].description


def test_an_evaluation_takes_the_job_s_own_validation_split_and_compares_with_the_base() -> None:
    found = answer("evaluate").estimate.resolved_spec.evaluate
    assert (found.dataset, found.split, found.compare_with_base) == ("datasets/own", "val", True)


def test_an_evaluation_of_another_dataset_takes_what_it_has() -> None:
    found = answer("evaluate", dataset="datasets/other")
    assert found.estimate.resolved_spec.evaluate.split == "train"
    assert found.estimate.validation_samples == 90
    missing = answer("evaluate", dataset="datasets/other", split="test")
    assert missing.reason == INVALID and missing.estimate.violations[0].field == "spec.split"


def test_an_evaluation_on_images_is_refused() -> None:
    found = answer("evaluate", layout="IMAGE_FOLDER")
    assert found.reason == INVALID and found.estimate.violations[0].field == "spec.dataset"


def test_the_job_of_another_family_is_refused() -> None:
    request = trainer_service_pb2.TrainerServiceEstimateRequest()
    request.spec.merge.source_job = "jobs/1"
    request.source_spec.training.image_classifier.SetInParent()
    assert estimate(request, []).reason == NOT_SUPPORTED
