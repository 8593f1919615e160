"""Artifacts over the wire: lists, downloads from any offset, ZIPs, signed URLs."""

import hashlib
import io
import zipfile
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.edge import Edge, refusal
from tuneyard.v1 import artifact_service_pb2 as pb
from tuneyard.v1 import event_pb2, trainer_service_pb2, training_pb2, training_service_pb2

FILES = {
    "model.safetensors": bytes(range(256)) * 8000,
    "plots/loss.png": b"png",
    "plots/empty.txt": b"",
    "plots/größe.txt": "ü".encode(),
}


@pytest.fixture
def edge(edge_with_shapes: Edge) -> Edge:
    return edge_with_shapes


@pytest.fixture
async def job(edge: Edge) -> str:
    """A job with artifacts, as an attempt would have left them."""
    spec = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model="resnet18")
    spec.image_classifier.SetInParent()
    made: str = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job.name
    controller = edge.gateway.controller
    jobs, store = controller._jobs, edge.store
    opened = await jobs.open_attempt(controller.epoch, made, trainer_id="t1", address="nowhere:1")
    assert opened is not None
    records = []
    for number, (path, content) in enumerate(FILES.items(), start=1):
        key = f"{made}/attempts/1/artifacts/{path}"
        info = store.put(key, content)
        stored = trainer_service_pb2.StoredArtifact(
            artifact=event_pb2.Artifact(path=path, size_bytes=len(content), sha256=info.sha256),
            file=event_pb2.StoredFile(path=path, key=key, size_bytes=len(content), sha256=info.sha256),
        )
        records.append(
            trainer_service_pb2.RunRecord(run_sequence=number, time=Timestamp(seconds=1), artifact=stored)
        )
    await jobs.commit_records(controller.epoch, made, 1, records)
    return made


async def download(edge: Edge, name: str, offset: int = 0) -> tuple[pb.DownloadHeader, bytes]:
    call: Any = edge.artifacts.DownloadArtifact(pb.DownloadArtifactRequest(name=name, offset=offset))
    first, *rest = [response async for response in call]
    return first.header, b"".join(response.chunk for response in rest)


async def test_artifacts_are_listed_by_path_in_pages(edge: Edge, job: str) -> None:
    first = await edge.artifacts.ListArtifacts(pb.ListArtifactsRequest(parent=job, page_size=3))
    rest = await edge.artifacts.ListArtifacts(
        pb.ListArtifactsRequest(parent=job, page_size=3, page_token=first.next_page_token)
    )
    paths = [artifact.path for page in (first, rest) for artifact in page.artifacts]
    assert paths == sorted(FILES)
    assert rest.next_page_token == ""


@pytest.mark.parametrize("path", FILES)
async def test_an_artifact_comes_whole(edge: Edge, job: str, path: str) -> None:
    header, content = await download(edge, f"{job}/artifacts/{path}")
    assert content == FILES[path]
    assert (header.size_bytes, header.artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())


async def test_a_download_resumes_from_an_offset(edge: Edge, job: str) -> None:
    header, content = await download(edge, f"{job}/artifacts/model.safetensors", offset=1_000_001)
    assert content == FILES["model.safetensors"][1_000_001:]
    assert header.size_bytes == len(content)


@pytest.mark.parametrize(("below", "count"), [("", 4), ("/", 4), ("/plots/", 3)])
async def test_a_folder_comes_as_a_zip(edge: Edge, job: str, below: str, count: int) -> None:
    header, content = await download(edge, f"{job}/artifacts{below}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == count
        prefix = "plots/" if count == 3 else ""
        assert all(archive.read(name) == FILES[prefix + name] for name in archive.namelist())
    assert (header.size_bytes, header.artifact.media_type) == (0, "application/zip")
    assert header.file_name.endswith(".zip")


async def test_a_signed_url_fetches_without_credentials(edge: Edge, job: str) -> None:
    request = pb.CreateDownloadRequest(name=f"{job}/artifacts/plots/loss.png")
    signed = await edge.artifacts.CreateDownload(request)
    async with httpx.AsyncClient() as client:
        answer = await client.get(signed.url)
    assert (answer.status_code, answer.content) == (200, b"png")
    assert "loss.png" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("path", "offset", "reason"),
    [
        ("none.txt", 0, "ARTIFACT_NOT_FOUND"),
        ("none/", 0, "ARTIFACT_NOT_FOUND"),
        ("plots/", 1, "INVALID_FIELD"),
        ("plots/loss.png", 4, "INVALID_FIELD"),
        ("../../datasets", 0, "ARTIFACT_NOT_FOUND"),
    ],
)
async def test_wrong_downloads_are_typed_errors(
    edge: Edge, job: str, path: str, offset: int, reason: str
) -> None:
    request = pb.DownloadArtifactRequest(name=f"{job}/artifacts/{path}", offset=offset)
    assert (await refusal(edge.artifacts.DownloadArtifact(request))).reason == reason


async def test_a_url_for_a_folder_or_for_too_long_is_refused(edge: Edge, job: str) -> None:
    folder = await refusal(
        edge.artifacts.CreateDownload(pb.CreateDownloadRequest(name=f"{job}/artifacts/plots/"))
    )
    long = pb.CreateDownloadRequest(name=f"{job}/artifacts/plots/loss.png")
    long.lifetime.seconds = 8 * 24 * 3600
    error = await refusal(edge.artifacts.CreateDownload(long))
    assert (folder.violations[0].field, error.violations[0].field) == ("name", "lifetime")
