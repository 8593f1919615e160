"""`tuneyard datasets without`: what it sends, what it shows, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.v1 import dataset_pb2
from tuneyard.v1.dataset_service_pb2 import (
    CreateDatasetVersionRequest,
    CreateDatasetVersionResponse,
    GetDatasetRequest,
    GetDatasetResponse,
)

Run = Callable[..., Any]


@pytest.fixture
def sent(gateway: FakeGateway) -> Callable[[], CreateDatasetVersionRequest]:
    """Lets the gateway make a version that is READY, and tells what was asked for."""
    version = dataset_pb2.Dataset(
        name="datasets/clean", parent="datasets/pets", state=dataset_pb2.DATASET_STATE_READY
    )
    version.report.excluded.extend(["cat/1.png", "cat/2.png"])
    gateway.answer("CreateDatasetVersion", CreateDatasetVersionResponse(dataset=version))
    stored = {version.name: version}

    def get(request: GetDatasetRequest, _: object) -> GetDatasetResponse:
        return GetDatasetResponse(dataset=stored.get(request.name, dataset_pb2.Dataset(name=request.name)))

    gateway.on("GetDataset", get)
    return lambda: gateway.requests["CreateDatasetVersion"][0]  # type: ignore[no-any-return]


def test_files_and_codes_are_left_out(sent: Callable[[], CreateDatasetVersionRequest], run: Run) -> None:
    ran = run(
        "datasets", "without", "pets", "cat/1.png", "cat/2.png", "--code", "IMAGE_BLANK", "--name", "clean"
    )
    request = sent()
    assert (request.parent, request.dataset_id) == ("datasets/pets", "clean")
    assert list(request.exclude_paths) == ["cat/1.png", "cat/2.png"]
    assert list(request.exclude_codes) == ["IMAGE_BLANK"]
    assert ran.code == 0
    assert "datasets/pets without 2 files" in ran.out


@pytest.mark.parametrize("wrap", [lambda found: found, lambda found: {"findings": found}])
def test_findings_in_json_name_the_files(
    sent: Callable[[], CreateDatasetVersionRequest], run: Run, tmp_path: Path, wrap: Callable[[Any], Any]
) -> None:
    findings = [{"path": "cat/1.png"}, {"path": None}, {"path": "cat/1.png"}, {"path": "cat/2.png"}]
    (tmp_path / "found.json").write_text(json.dumps(wrap(findings)))
    run("datasets", "without", "pets", "--findings", tmp_path / "found.json", "--no-wait")
    assert list(sent().exclude_paths) == ["cat/1.png", "cat/2.png"]


def test_findings_in_texts_name_single_lines(
    gateway: FakeGateway, sent: Callable[[], CreateDatasetVersionRequest], run: Run, tmp_path: Path
) -> None:
    texts = dataset_pb2.Dataset(
        name="datasets/pets", parent="datasets/all", format=dataset_pb2.DATASET_FORMAT_JSONL
    )
    texts.state, texts.report.excluded[:] = dataset_pb2.DATASET_STATE_READY, ["train.jsonl:1"]
    gateway.answer("GetDataset", GetDatasetResponse(dataset=texts))
    findings = [{"path": "train.jsonl", "line": 17}, {"path": "train.jsonl", "line": 40}, {"path": "b.jsonl"}]
    (tmp_path / "found.json").write_text(json.dumps(findings))
    ran = run("datasets", "without", "pets", "--findings", tmp_path / "found.json")
    assert list(sent().exclude_paths) == ["train.jsonl:17", "train.jsonl:40", "b.jsonl"]
    assert "datasets/all without 1 line\n" in ran.out


def test_a_dataset_as_json_is_read_from_standard_input(
    sent: Callable[[], CreateDatasetVersionRequest], run: Run
) -> None:
    shown = json.dumps({"name": "datasets/pets", "report": {"findings": [{"path": "cat/1.png"}]}})
    run("datasets", "without", "pets", "--findings", "-", stdin=shown)
    assert list(sent().exclude_paths) == ["cat/1.png"]


def test_nothing_to_leave_out_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    assert run("datasets", "without", "pets").code == 2
    (tmp_path / "no.json").write_text("[]x")
    ran = run("datasets", "without", "pets", "--findings", tmp_path / "no.json")
    assert ran.code == 2 and "no.json" in ran.err
