"""What the commands that look at things print, for people and for programs."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.defects_images import encoded, picture
from tests.support.fake_gateway import FakeDatasets, FakeGateway
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, model_service_pb2, system_pb2, training_pb2
from tuneyard.v1.artifact_service_pb2 import DownloadArtifactResponse, ListArtifactsResponse
from tuneyard.v1.dataset_service_pb2 import GetDatasetResponse, ListDatasetsResponse
from tuneyard.v1.system_service_pb2 import ListTrainersResponse
from tuneyard.v1.training_service_pb2 import (
    CancelJobResponse,
    GetJobResponse,
    ListCheckpointsResponse,
    ListJobsResponse,
    RerunJobResponse,
)

Run = Callable[..., Any]

JOB = job_pb2.Job(
    name="jobs/0198",
    state=job_pb2.JOB_STATE_RUNNING,
    spec=job_pb2.JobSpec(
        training=training_pb2.TrainingSpec(
            dataset="datasets/digits", base_model="resnet18", image_classifier={}
        )
    ),
    progress=job_pb2.ProgressEvent(step=25, total_steps=100, fraction=0.25),
    metrics={"eval/accuracy_top1": job_pb2.MetricSummary(latest=0.9, best=0.95)},
    labels={"team": "[red]x[/]"},
)


def test_jobs_are_listed_a_line_each(gateway: FakeGateway, run: Run) -> None:
    gateway.answer("ListJobs", ListJobsResponse(jobs=[JOB]))
    head, line = run("jobs", "list").out.splitlines()
    assert head.split()[:3] == ["job", "state", "task"]
    assert line.split()[:5] == ["0198", "RUNNING", "image-classifier", "resnet18", "25%"]


def test_jobs_with_json_are_one_document(gateway: FakeGateway, run: Run) -> None:
    gateway.answer("ListJobs", ListJobsResponse(jobs=[JOB]))
    assert [job["name"] for job in run("jobs", "list", "--json").document["jobs"]] == ["jobs/0198"]


def test_the_filter_of_jobs_is_the_servers(gateway: FakeGateway, run: Run) -> None:
    run("jobs", "list", "--state", "running", "--task", "llm", "--dataset", "d", "--label", "a=b")
    filter = gateway.requests["ListJobs"][0].filter
    assert list(filter.states) == [job_pb2.JOB_STATE_RUNNING]
    assert list(filter.tasks) == [training_pb2.TASK_KIND_LANGUAGE_MODEL]
    assert (filter.dataset, dict(filter.labels)) == ("datasets/d", {"a": "b"})


def test_a_job_is_shown_with_its_checkpoints_and_its_markup_is_text(gateway: FakeGateway, run: Run) -> None:
    checkpoint = event_pb2.Checkpoint(step=20, size_bytes=2048, best=True, available=True)
    gateway.answer("GetJob", GetJobResponse(job=JOB))
    gateway.answer("ListCheckpoints", ListCheckpointsResponse(checkpoints=[checkpoint]))
    out = run("jobs", "show", "0198").out
    assert "team=[red]x[/]" in out
    assert "2.0 KiB" in out
    assert "best" in out


def test_steering_tells_the_state_that_was_committed(gateway: FakeGateway, run: Run) -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_CANCELLING)
    gateway.answer("CancelJob", CancelJobResponse(job=job))
    assert run("jobs", "cancel", "1").out == "jobs/1 CANCELLING\n"
    assert run("jobs", "cancel", "1", "--json").document["state"] == "JOB_STATE_CANCELLING"


def test_a_rerun_makes_a_new_job(gateway: FakeGateway, run: Run) -> None:
    gateway.answer("RerunJob", RerunJobResponse(job=job_pb2.Job(name="jobs/2")))
    gateway.answer("GetJob", GetJobResponse(job=job_pb2.Job(name="jobs/2")))
    assert "created jobs/2" in run("jobs", "rerun", "1").out


def test_deleting_is_told(gateway: FakeGateway, run: Run) -> None:
    assert run("jobs", "delete", "1", "--json").document == {"deleted": "1"}
    assert gateway.requests["DeleteJob"][0].name == "jobs/1"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for shade in range(4):
                colour = (number * 120, shade * 40, 10 if split == "val" else 200)
                Image.new("RGB", (32, 32), colour).save(folder / f"{shade}.png")
    return tmp_path / "pets"


def test_checking_a_good_dataset_needs_no_server(run: Run, images: Path) -> None:
    ran = run("datasets", "check", images, "--format", "image-folder", "--server", "127.0.0.1:1")
    assert ran.code == 0
    assert "16 samples in 2 classes" in ran.out


def test_checking_with_json_gives_a_report(run: Run, images: Path) -> None:
    report = run("datasets", "check", images, "--format", "image-folder", "--json").document
    assert {"findings", "counts", "classes"} <= set(report)
    assert report["classes"] == ["cat", "dog"]


def test_a_check_says_what_an_epoch_sees_of_repeats_and_class_images(tmp_path: Path, run: Run) -> None:
    for number in range(13):
        path = tmp_path / ("img/10_sks dog" if number < 10 else "reg/1_dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number)))
    ran = run("datasets", "check", tmp_path, "--format", "captioned-images")
    assert "13 samples (train 10); an epoch sees 100 samples and 3 class samples" in ran.out


def test_a_format_that_is_not_named_is_guessed_and_said(run: Run, images: Path) -> None:
    ran = run("datasets", "check", images)
    assert ran.code == 0 and "16 samples in 2 classes" in ran.out
    assert "taken as --format image-folder: its images lie in folders by class: cat/, dog/" in ran.err


def test_a_format_that_nothing_tells_is_asked_for(run: Run, tmp_path: Path) -> None:
    ran = run("datasets", "check", tmp_path)
    assert ran.code == 2 and "--format, one of image-folder, yolo, captioned-images, jsonl" in ran.err


def test_a_dataset_of_another_format_is_said_to_look_like_it(run: Run, images: Path) -> None:
    ran = run("datasets", "check", images, "--format", "yolo")
    assert ran.code == 1 and "try --format image-folder" in ran.out


def test_a_broken_dataset_is_1_and_names_the_file(run: Run, images: Path) -> None:
    for path in (images / "train" / "dog").iterdir():
        path.write_bytes(b"no picture")
    ran = run("datasets", "check", images, "--format", "image-folder", "--json")
    assert ran.code == 1
    errors = [finding for finding in ran.document["findings"] if finding["severity"] == "ERROR"]
    assert errors
    assert all(finding["code"] and finding["remedy"] for finding in errors)


def test_an_upload_is_named_and_waited_for(gateway: FakeGateway, run: Run, images: Path) -> None:
    FakeDatasets().serve(gateway)
    ran = run("datasets", "upload", images, "--format", "image-folder", "--name", "pets", "--json")
    assert ran.document["name"] == "datasets/pets"
    assert ran.document["state"] == "DATASET_STATE_READY"


def test_an_invalid_dataset_is_1_with_its_findings(gateway: FakeGateway, run: Run, images: Path) -> None:
    FakeDatasets().serve(gateway)
    finding = dataset_pb2.Finding(
        code="ONE_CLASS", severity=dataset_pb2.SEVERITY_ERROR, message="one class", remedy="add one"
    )
    invalid = dataset_pb2.Dataset(
        name="datasets/pets",
        state=dataset_pb2.DATASET_STATE_INVALID,
        report=dataset_pb2.ValidationReport(findings=[finding]),
    )
    gateway.answer("GetDataset", GetDatasetResponse(dataset=invalid))
    ran = run("datasets", "upload", images, "--format", "image-folder", "--name", "pets")
    assert ran.code == 1
    assert "ERROR one class ONE_CLASS\n  → add one" in ran.out


def test_datasets_are_listed(gateway: FakeGateway, run: Run) -> None:
    dataset = dataset_pb2.Dataset(name="datasets/pets", format=dataset_pb2.DATASET_FORMAT_YOLO)
    gateway.answer("ListDatasets", ListDatasetsResponse(datasets=[dataset]))
    assert run("datasets", "list").out.splitlines()[1].split()[:3] == ["pets", "UNSPECIFIED", "yolo"]


def test_models_are_the_catalogue_and_the_store(gateway: FakeGateway, run: Run) -> None:
    base = model_service_pb2.BaseModel(id="resnet50", family=training_pb2.FAMILY_VISION, is_recommended=True)
    gateway.answer("ListBaseModels", model_service_pb2.ListBaseModelsResponse(base_models=[base]))
    document = run("models", "list", "--json").document
    assert document["baseModels"][0]["id"] == "resnet50"
    assert document["models"] == []
    assert "resnet50 recommended" in run("models", "list").out


def test_a_failed_import_is_listed_with_what_went_wrong(gateway: FakeGateway, run: Run) -> None:
    failed = model_service_pb2.Model(
        name="models/w", state=model_service_pb2.MODEL_STATE_FAILED, error="no architecture fits"
    )
    gateway.answer("ListBaseModels", model_service_pb2.ListBaseModelsResponse())
    gateway.answer("ListModels", model_service_pb2.ListModelsResponse(models=[failed]))
    shown = run("models", "list").out
    assert "FAILED" in shown and "w failed: no architecture fits" in shown


UPLOADING = model_service_pb2.Model(name="models/m", state=model_service_pb2.MODEL_STATE_UPLOADING)


def test_importing_a_file_uploads_it(gateway: FakeGateway, run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    model = model_service_pb2.Model(name="models/w", state=model_service_pb2.MODEL_STATE_READY)
    gateway.answer("CreateModel", model_service_pb2.CreateModelResponse(model=UPLOADING))
    gateway.answer("UploadModel", model_service_pb2.UploadModelResponse(model=model))
    gateway.answer("GetModel", model_service_pb2.GetModelResponse(model=model))
    ran = run("models", "import", tmp_path / "w.safetensors", "--architecture", "resnet18", "--json")
    assert ran.document["name"] == "models/w"


def test_importing_a_folder_here_uploads_it_where_the_server_may_not_read_it(
    gateway: FakeGateway, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    model = model_service_pb2.Model(
        name="models/w", state=model_service_pb2.MODEL_STATE_READY, detail="resnet18 of torchvision"
    )
    gateway.fail("ImportModel", TuneyardError("SOURCE_NOT_ALLOWED", "not below an allowed root"))
    gateway.answer("CreateModel", model_service_pb2.CreateModelResponse(model=UPLOADING))
    gateway.answer("UploadModel", model_service_pb2.UploadModelResponse(model=model))
    gateway.answer("GetModel", model_service_pb2.GetModelResponse(model=model))
    assert "resnet18 of torchvision" in run("models", "import", tmp_path, "--name", "w").out


def test_importing_a_file_that_is_not_there_says_so(gateway: FakeGateway, run: Run) -> None:
    ran = run("models", "import", "yolov8n.pt")
    assert (ran.code, gateway.calls["ImportModel"]) == (2, 0)
    assert "yolov8n.pt: there is no such file or folder here" in ran.err


def test_importing_a_hub_id_asks_the_server(gateway: FakeGateway, run: Run) -> None:
    model = model_service_pb2.Model(name="models/m")
    gateway.answer("ImportModel", model_service_pb2.ImportModelResponse(model=model))
    run("models", "import", "org/model", "--revision", "abc", "--family", "llm", "--no-wait")
    request = gateway.requests["ImportModel"][0]
    assert (request.source, request.revision) == ("org/model", "abc")
    assert request.family == training_pb2.FAMILY_LLM


def language_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    for name in ("model.safetensors", "pytorch_model.bin", "consolidated.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(b"content")
    return folder


def test_a_language_models_folder_is_recognised_and_sent_without_doubles(
    gateway: FakeGateway, run: Run, tmp_path: Path
) -> None:
    model = model_service_pb2.Model(name="models/m", state=model_service_pb2.MODEL_STATE_READY)
    gateway.fail("ImportModel", TuneyardError("SOURCE_NOT_ALLOWED", "not below an allowed root"))
    gateway.answer("GetModel", model_service_pb2.GetModelResponse(model=model))
    sent: list[model_service_pb2.UploadModelRequest] = []

    def receive(requests: Any, context: Any) -> model_service_pb2.UploadModelResponse:
        sent.extend(requests)
        return model_service_pb2.UploadModelResponse(model=model)

    gateway.answer("CreateModel", model_service_pb2.CreateModelResponse(model=UPLOADING))
    gateway.on("UploadModel", receive)
    assert run("models", "import", language_model(tmp_path / "m")).code == 0
    assert gateway.requests["CreateModel"][0].family == training_pb2.FAMILY_LLM
    place, *chunks = sent
    assert place.place.name == UPLOADING.name
    with zipfile.ZipFile(io.BytesIO(b"".join(part.chunk for part in chunks))) as archive:
        assert archive.namelist() == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_folder_that_no_family_trains_is_told(gateway: FakeGateway, run: Run, tmp_path: Path) -> None:
    folder = language_model(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": "t5", "architectures": ["T5ForX"]}')
    ran = run("models", "import", folder)
    assert (ran.code, gateway.calls["UploadModel"]) == (2, 0)
    assert "T5ForX can be trained by no family" in ran.err


@pytest.mark.parametrize("family", [(), ("--family", "llm")])
def test_a_folder_without_a_model_is_not_sent(
    gateway: FakeGateway, run: Run, tmp_path: Path, family: tuple[str, ...]
) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    ran = run("models", "import", tmp_path, *family)
    assert (ran.code, gateway.calls["UploadModel"], gateway.calls["ImportModel"]) == (2, 0, 0)
    assert "no model in this folder" in ran.err


def test_a_base_model_of_the_list_is_imported_by_its_name(gateway: FakeGateway, run: Run) -> None:
    known = model_service_pb2.BaseModel(id="small-7b", hub_id="org/Small", family=training_pb2.FAMILY_LLM)
    gateway.answer("ListBaseModels", model_service_pb2.ListBaseModelsResponse(base_models=[known]))
    model = model_service_pb2.Model(name="models/small-7b")
    gateway.answer("ImportModel", model_service_pb2.ImportModelResponse(model=model))
    for source in ("small-7b", "org/Small"):
        run("models", "import", source, "--no-wait")
    assert [(each.source, each.family) for each in gateway.requests["ImportModel"]] == [
        ("small-7b", training_pb2.FAMILY_LLM),
        ("org/Small", training_pb2.FAMILY_LLM),
    ]


def test_a_hub_id_whose_family_nothing_tells_is_asked_for(gateway: FakeGateway, run: Run) -> None:
    trainers = [
        system_pb2.Trainer(family=training_pb2.FAMILY_VISION),
        system_pb2.Trainer(family=training_pb2.FAMILY_LLM),
    ]
    gateway.answer("ListBaseModels", model_service_pb2.ListBaseModelsResponse())
    gateway.answer("ListTrainers", ListTrainersResponse(trainers=trainers))
    ran = run("models", "import", "org/model")
    assert ran.code == 2
    assert "Add --family vision or --family llm" in ran.err


@pytest.fixture
def artifact(gateway: FakeGateway) -> bytes:
    content = b"weights"
    listed = event_pb2.Artifact(
        name="jobs/1/artifacts/model.safetensors",
        path="model.safetensors",
        kind=event_pb2.ARTIFACT_KIND_MODEL,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    gateway.answer("ListArtifacts", ListArtifactsResponse(artifacts=[listed]))
    gateway.on("DownloadArtifact", lambda request, context: iter([DownloadArtifactResponse(chunk=content)]))
    return content


def test_artifacts_are_listed(run: Run, artifact: bytes) -> None:
    assert run("artifacts", "list", "1").out.splitlines()[1].split() == [
        "model.safetensors",
        "model",
        "7",
        "B",
    ]


def test_artifacts_are_downloaded_and_told(run: Run, artifact: bytes, tmp_path: Path) -> None:
    ran = run("artifacts", "download", "1", "-o", tmp_path / "out", "--json")
    assert ran.document == {"job": "1", "files": [str(tmp_path / "out" / "model.safetensors")]}
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == artifact


def test_trainers_are_listed_with_their_devices(gateway: FakeGateway, run: Run) -> None:
    device = system_pb2.Device(id="cuda:0", job="jobs/1")
    trainer = system_pb2.Trainer(
        family=training_pb2.FAMILY_VISION,
        address="127.0.0.1:50061",
        health=system_pb2.TRAINER_HEALTH_DEGRADED,
        problem="no store",
        devices=[device],
    )
    gateway.answer("ListTrainers", ListTrainersResponse(trainers=[trainer]))
    out = run("trainers").out
    assert "DEGRADED" in out
    assert "127.0.0.1:50061: no store" in out
    assert run("trainers", "--json").document["trainers"][0]["devices"][0]["id"] == "cuda:0"


def test_completion_can_be_shown() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tuneyard.cli"],
        env={
            **os.environ,
            "_TUNEYARD_COMPLETE": "complete_bash",
            "COMP_WORDS": "tuneyard tr",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert {"train", "trainers"} <= set(shown.stdout.split()), shown.stderr


def test_a_model_of_the_catalogue_is_shown_like_one_of_the_store(gateway: FakeGateway, run: Run) -> None:
    gateway.fail("GetModel", TuneyardError("MODEL_NOT_FOUND", "there is no models/resnet50"), times=2)
    known = model_service_pb2.BaseModel(
        id="resnet50", family=training_pb2.FAMILY_VISION, license="BSD-3-Clause"
    )
    gateway.answer("ListBaseModels", model_service_pb2.ListBaseModelsResponse(base_models=[known]))
    assert "BSD-3-Clause" in run("models", "show", "resnet50").out
    assert run("models", "show", "resnet5").code == 1
