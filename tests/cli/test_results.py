import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_gateway import FakeDatasets, FakeGateway, FakeJob
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, training_pb2
from tuneyard.v1.artifact_service_pb2 import DownloadArtifactResponse, ListArtifactsResponse
from tuneyard.v1.training_service_pb2 import EvaluateResponse, ExportResponse, GetJobResponse

Run = Callable[..., Any]

SCORES = {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 4}
REPORT = {
    "architecture": "resnet18",
    "source_job": "jobs/1",
    "dataset": "datasets/pets",
    "split": {"name": "val", "origin": "the 15% that the training held out", "samples": 9},
    "warnings": ["3 images lie in more than one split"],
    "metrics": {"accuracy_top1": 0.9, "loss": 0.25},
    "base": {"compared": True, "name": "models/b", "metrics": {"accuracy_top1": 0.6, "loss": 1.25}},
    "classes": {"[cat]": SCORES},
}


def serve(gateway: FakeGateway, files: dict[str, bytes]) -> None:
    """A job that has succeeded, with these artifacts."""
    made = FakeJob("jobs/2")
    made.serve(gateway)
    gateway.answer("Export", ExportResponse(job=made.job))
    gateway.answer("Evaluate", EvaluateResponse(job=made.job))
    listed = [
        event_pb2.Artifact(
            name=f"jobs/2/artifacts/{path}",
            path=path,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        for path, content in files.items()
    ]
    gateway.answer("ListArtifacts", ListArtifactsResponse(artifacts=listed))

    def download(request: Any, context: Any) -> Any:
        content = files[request.name.removeprefix("jobs/2/artifacts/")]
        return iter([DownloadArtifactResponse(chunk=content[request.offset :])])

    gateway.on("DownloadArtifact", download)


@pytest.fixture
def evaluated(gateway: FakeGateway) -> dict[str, bytes]:
    files = {"report.json": json.dumps(REPORT).encode(), "report.html": b"<html>"}
    serve(gateway, files)
    return files


def test_an_evaluation_is_waited_for_and_shown(evaluated: dict[str, bytes], run: Run) -> None:
    ran = run("evaluate", "1")
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["accuracy_top1", "0.6000", "0.9000", "+0.3000"] in lines
    assert ["loss", "1.2500", "0.2500", "-1.0000"] in lines
    assert ["[cat]", "0.5000", "1.0000", "0.6667", "4"] in lines
    assert "val: the 15% that the training held out, 9 images" in ran.out
    assert "warning: 3 images lie in more than one split" in ran.out
    assert "report: tuneyard artifacts download 2 -o DIR" in ran.out
    assert "SUCCEEDED" in ran.err


def test_a_report_says_why_there_is_no_comparison(gateway: FakeGateway, run: Run) -> None:
    report = REPORT | {"base": {"compared": False, "reason": "There is no base."}}
    serve(gateway, {"report.json": json.dumps(report).encode()})
    ran = run("evaluate", "1")
    assert "There is no base." in ran.out
    assert ["accuracy_top1", "0.9000"] in [line.split() for line in ran.out.splitlines()]


def test_a_language_model_s_report_shows_rows_and_answers(gateway: FakeGateway, run: Run) -> None:
    answer = {
        "messages": [{"role": "user", "content": "[one]?"}],
        "reference": "two",
        "tuned": "two\nor three",
        "base": "",
    }
    report = {
        **{name: value for name, value in REPORT.items() if name != "classes"},
        "task": "language_model",
        "metrics": {"loss": 0.5, "perplexity": 1.65},
        "base": {"compared": True, "metrics": {"loss": 900.0, "perplexity": None}},
        "answers": [answer] * 5,
    }
    serve(gateway, {"report.json": json.dumps(report).encode()})
    out = run("evaluate", "1").out
    lines = [line.split() for line in out.splitlines()]
    assert "9 rows" in out
    assert ["perplexity", "–", "1.6500"] in lines
    assert ["prompt", "[one]?"] in lines and ["tuned", "two", "or", "three"] in lines
    assert "2 more answers" in out


def test_the_options_of_an_evaluation_are_its_spec(
    gateway: FakeGateway, evaluated: dict[str, bytes], run: Run
) -> None:
    run("evaluate", "1", "--dataset", "pets", "--split", "test", "--no-base", "--clip-model", "clip")
    (request,) = gateway.requests["Evaluate"]
    assert request.spec == job_pb2.EvaluateSpec(
        source_job="jobs/1",
        dataset="datasets/pets",
        split="test",
        compare_with_base=False,
        clip_model="models/clip",
    )


def test_an_evaluation_uploads_a_file_in_the_format_of_the_jobs_task(
    gateway: FakeGateway, evaluated: dict[str, bytes], run: Run, tmp_path: Path
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    source = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_SUCCEEDED)
    source.spec.training.object_detector.SetInParent()
    gateway.answer("GetJob", GetJobResponse(job=source))
    (tmp_path / "street.zip").write_bytes(b"zip")
    assert run("evaluate", "1", "--dataset", tmp_path / "street.zip", "--detach").code == 0
    (uploaded,) = datasets.datasets.values()
    assert uploaded.format == dataset_pb2.DATASET_FORMAT_YOLO
    assert gateway.requests["Evaluate"][0].spec.dataset == uploaded.name


def test_an_evaluation_with_json_is_one_document(
    evaluated: dict[str, bytes], run: Run, tmp_path: Path
) -> None:
    ran = run("evaluate", "1", "--json", "-o", tmp_path)
    assert ran.document["job"] == "jobs/2"
    assert ran.document["report"] == REPORT
    assert ran.document["files"] == [str(tmp_path / name) for name in evaluated]
    assert (tmp_path / "report.html").read_bytes() == b"<html>"


def test_where_a_downloaded_report_lies_is_said(
    evaluated: dict[str, bytes], run: Run, tmp_path: Path
) -> None:
    assert f"report: {tmp_path / 'report.html'}" in run("evaluate", "1", "-o", tmp_path).out


def test_an_evaluation_that_is_only_created_is_not_waited_for(
    gateway: FakeGateway, evaluated: dict[str, bytes], run: Run
) -> None:
    assert "tuneyard watch 2" in run("evaluate", "1", "--detach").out
    assert gateway.calls["DownloadArtifact"] == 0


def test_a_failed_evaluation_exits_with_1(
    gateway: FakeGateway, evaluated: dict[str, bytes], run: Run
) -> None:
    failed = FakeJob("jobs/2")
    failed.job.state = job_pb2.JOB_STATE_FAILED
    failed.serve(gateway)
    ran = run("evaluate", "1")
    assert (ran.code, ran.out) == (1, "")
    assert "did not succeed" in ran.err


@pytest.mark.parametrize("format", ["onnx", "ultralytics"])
def test_an_export_is_waited_for_and_downloaded(
    gateway: FakeGateway, run: Run, tmp_path: Path, format: str
) -> None:
    serve(gateway, {"model.bin": b"weights"})
    ran = run("export", "1", "--to", format, "-o", tmp_path, "--json")
    assert ran.document["files"] == [str(tmp_path / "model.bin")]
    (request,) = gateway.requests["Export"]
    assert request.spec.format == job_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{format.upper()}")
    assert "SUCCEEDED" in ran.err


FULL = training_pb2.LanguageModel(method=training_pb2.FINE_TUNING_METHOD_FULL)


@pytest.mark.parametrize(
    ("spec", "format"),
    [
        (training_pb2.TrainingSpec(image_classifier=training_pb2.ImageClassifier()), "SAFETENSORS"),
        (training_pb2.TrainingSpec(language_model=training_pb2.LanguageModel()), "ADAPTER"),
        (training_pb2.TrainingSpec(language_model=FULL), "SAFETENSORS"),
        (training_pb2.TrainingSpec(text_to_image_lora=training_pb2.TextToImageLora()), "ADAPTER"),
    ],
)
def test_what_a_job_trained_is_exported_as_it_is(
    gateway: FakeGateway, run: Run, tmp_path: Path, spec: training_pb2.TrainingSpec, format: str
) -> None:
    serve(gateway, {"model.bin": b"weights"})
    jobs = {
        "jobs/1": job_pb2.Job(spec=job_pb2.JobSpec(training=spec)),
        "jobs/2": job_pb2.Job(state=job_pb2.JOB_STATE_SUCCEEDED),
    }
    gateway.on("GetJob", lambda request, _: GetJobResponse(job=jobs[request.name]))
    run("export", "1", "-o", tmp_path)
    assert job_pb2.ExportFormat.Name(gateway.requests["Export"][0].spec.format) == f"EXPORT_FORMAT_{format}"
