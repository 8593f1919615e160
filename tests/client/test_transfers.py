import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.fake_gateway import FakeDatasets, FakeGateway
from tuneyard.client import Client, Transfer, errors
from tuneyard.client.downloading import target_path
from tuneyard.client.packing import pack
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import artifact_service_pb2, dataset_pb2, event_pb2, model_service_pb2

MIB = 1024 * 1024
FORMAT = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my flowers.zip"
    path.write_bytes(bytes(range(256)) * (5 * MIB // 256) + b"tail")
    return path


def test_an_upload_stores_the_bytes_and_tells_its_progress(
    gateway: FakeGateway, client: Client, file: Path
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    told: list[Transfer] = []
    dataset = client.datasets.upload(file, format=FORMAT, progress=told.append)
    assert bytes(datasets.bytes[dataset.name]) == file.read_bytes()
    assert told[-1] == Transfer(file.name, file.stat().st_size, file.stat().st_size)


def test_an_upload_without_a_name_is_named_after_file_and_content(
    gateway: FakeGateway, client: Client, file: Path
) -> None:
    FakeDatasets().serve(gateway)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert client.datasets.upload(file, format=FORMAT).name == f"datasets/my-flowers-{digest[:12]}"


def test_an_interrupted_upload_goes_on_where_the_server_is(
    gateway: FakeGateway, client: Client, file: Path
) -> None:
    datasets = FakeDatasets(cuts=3, cut_after=MIB)
    datasets.serve(gateway)
    dataset = client.datasets.upload(file, format=FORMAT, name="flowers")
    assert bytes(datasets.bytes["datasets/flowers"]) == file.read_bytes()
    assert dataset.state == dataset_pb2.DATASET_STATE_READY
    assert gateway.calls["UploadDataset"] == 4


def test_what_a_progress_callback_raises_ends_the_upload(
    gateway: FakeGateway, client: Client, file: Path
) -> None:
    FakeDatasets().serve(gateway)

    def refuse(told: Transfer) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        client.datasets.upload(file, format=FORMAT, progress=refuse)


def test_the_same_bytes_are_uploaded_once(gateway: FakeGateway, client: Client, file: Path) -> None:
    FakeDatasets().serve(gateway)
    first = client.datasets.upload(file, format=FORMAT)
    assert client.datasets.upload(file, format=FORMAT) == first
    assert gateway.calls["UploadDataset"] == 1


def test_an_upload_that_a_dead_client_left_is_taken_up(
    gateway: FakeGateway, client: Client, file: Path
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    # More than once: where a call ends while a chunk is on its way, gRPC loses the status: it is repeated.
    gateway.fail("UploadDataset", TuneyardError("STORAGE_FULL", "the disk is full"), times=20)
    with pytest.raises(errors.StorageFull):
        client.datasets.upload(file, format=FORMAT, name="flowers")
    gateway.recover("UploadDataset")
    client.datasets.upload(file, format=FORMAT, name="flowers")
    assert bytes(datasets.bytes["datasets/flowers"]) == file.read_bytes()


class FakeModel:
    """A gateway's one model, whose upload breaks off a few times."""

    def __init__(self, *, cuts: int) -> None:
        self.model = model_service_pb2.Model()
        self.bytes, self.cuts = bytearray(), cuts

    def serve(self, gateway: FakeGateway) -> None:
        gateway.on("CreateModel", self._create)
        gateway.on("UploadModel", self._upload)
        gateway.on("GetModel", lambda request, context: model_service_pb2.GetModelResponse(model=self.model))

    def _create(self, request: Any, context: grpc.ServicerContext) -> model_service_pb2.CreateModelResponse:
        self.model = model_service_pb2.Model(
            name=f"models/{request.model_id}",
            state=model_service_pb2.MODEL_STATE_UPLOADING,
            source=request.file_name,
            size_bytes=request.size_bytes,
            family=request.family,
        )
        return model_service_pb2.CreateModelResponse(model=self.model)

    def _upload(self, requests: Any, context: grpc.ServicerContext) -> model_service_pb2.UploadModelResponse:
        stream = iter(requests)
        assert next(stream).place.offset == len(self.bytes)
        for request in stream:
            self.bytes += request.chunk
            self.model.upload.received_bytes = len(self.bytes)
            if self.cuts:
                self.cuts -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        self.model.state = model_service_pb2.MODEL_STATE_IMPORTING
        return model_service_pb2.UploadModelResponse(model=self.model)


def test_an_interrupted_upload_of_a_model_goes_on(gateway: FakeGateway, client: Client, file: Path) -> None:
    stored = FakeModel(cuts=2)
    stored.serve(gateway)
    model = client.models.upload(file, family="vision", name="mine")
    assert model.state == model_service_pb2.MODEL_STATE_IMPORTING
    assert bytes(stored.bytes) == file.read_bytes()
    assert gateway.calls["UploadModel"] == 3


def test_an_upload_of_a_model_that_a_dead_client_left_is_taken_up_and_no_other(
    gateway: FakeGateway, client: Client, file: Path, tmp_path: Path
) -> None:
    stored = FakeModel(cuts=0)
    stored.serve(gateway)
    gateway.fail("UploadModel", TuneyardError("STORAGE_FULL", "the disk is full"), times=20)
    with pytest.raises(errors.StorageFull):
        client.models.upload(file, family="vision", name="mine")
    gateway.recover("UploadModel")
    gateway.fail("CreateModel", TuneyardError("ALREADY_EXISTS", "models/mine exists"), times=2)
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    with pytest.raises(errors.AlreadyExists):
        client.models.upload(other, family="vision", name="mine")
    client.models.upload(file, family="vision", name="mine")
    assert bytes(stored.bytes) == file.read_bytes()


def test_other_bytes_under_a_taken_name_are_refused(gateway: FakeGateway, client: Client, file: Path) -> None:
    FakeDatasets().serve(gateway)
    client.datasets.upload(file, format=FORMAT, name="flowers")
    file.write_bytes(b"other")
    with pytest.raises(errors.AlreadyExists):
        client.datasets.upload(file, format=FORMAT, name="flowers")


def test_a_folder_is_uploaded_as_a_zip(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    folder = tmp_path / "pets"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(b"png")
    name = client.datasets.upload(folder, format=FORMAT).name
    (tmp_path / "got.zip").write_bytes(datasets.bytes[name])
    assert zipfile.ZipFile(tmp_path / "got.zip").namelist() == ["cat/1.png"]


def test_packing_gives_the_same_bytes_each_time_and_leaves_junk_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("b/2.txt", "a/1.png", ".DS_Store", "__MACOSX/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "link").symlink_to("/etc/passwd")
    pack(folder, tmp_path / "1.zip")
    (folder / "a" / "1.png").touch()
    pack(folder, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "1.zip").namelist() == ["a/1.png", "b/2.txt"]


class Artifacts:
    """Serves artifacts; each of the first `cuts` calls breaks off after a chunk."""

    def __init__(self, files: dict[str, bytes], *, cuts: int = 0) -> None:
        self.files, self.cuts = files, cuts

    def serve(self, gateway: FakeGateway) -> None:
        gateway.on("ListArtifacts", self._list)
        gateway.on("DownloadArtifact", self._download)

    def _list(
        self, request: artifact_service_pb2.ListArtifactsRequest, context: grpc.ServicerContext
    ) -> artifact_service_pb2.ListArtifactsResponse:
        return artifact_service_pb2.ListArtifactsResponse(
            artifacts=[
                event_pb2.Artifact(
                    name=f"jobs/1/artifacts/{path}",
                    path=path,
                    size_bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
                for path, content in self.files.items()
            ]
        )

    def _download(
        self, request: artifact_service_pb2.DownloadArtifactRequest, context: grpc.ServicerContext
    ) -> Iterator[artifact_service_pb2.DownloadArtifactResponse]:
        content = self.files[request.name.removeprefix("jobs/1/artifacts/")]
        yield artifact_service_pb2.DownloadArtifactResponse(
            header=artifact_service_pb2.DownloadHeader(size_bytes=len(content) - request.offset)
        )
        for start in range(request.offset, len(content), MIB):
            yield artifact_service_pb2.DownloadArtifactResponse(chunk=content[start : start + MIB])
            if self.cuts:
                self.cuts -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")


def test_a_download_writes_every_artifact_below_the_folder(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    files = {"model.safetensors": b"weights" * MIB, "plots/loss.png": b"png", "empty.txt": b""}
    Artifacts(files).serve(gateway)
    client.job("1").download(tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == files


def test_an_interrupted_download_goes_on_at_the_next_byte(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    Artifacts({"model": b"x" * (4 * MIB + 1)}, cuts=2).serve(gateway)
    client.job("1").download(tmp_path)
    assert [request.offset for request in gateway.requests["DownloadArtifact"]] == [0, MIB, 2 * MIB]
    assert (tmp_path / "model").read_bytes() == b"x" * (4 * MIB + 1)


def test_a_damaged_rest_of_an_earlier_download_is_fetched_anew(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    content = b"y" * 100
    Artifacts({"model": content}).serve(gateway)
    (tmp_path / f".model.{hashlib.sha256(content).hexdigest()[:12]}.part").write_bytes(b"damaged")
    client.job("1").download(tmp_path)
    assert (tmp_path / "model").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_is_there_and_right_is_not_fetched(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    Artifacts({"model": b"weights"}).serve(gateway)
    client.job("1").download(tmp_path)
    client.job("1").download(tmp_path)
    assert gateway.calls["DownloadArtifact"] == 1


def test_wrong_bytes_are_an_error_and_leave_no_file(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    artifacts = Artifacts({"model": b"weights"})
    artifacts.serve(gateway)
    lie = artifacts._list(artifact_service_pb2.ListArtifactsRequest(), None)  # type: ignore[arg-type]
    lie.artifacts[0].sha256 = "0" * 64
    gateway.answer("ListArtifacts", lie)
    with pytest.raises(errors.ChecksumMismatch):
        client.job("1").download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_paths_pick_files_and_folders(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    Artifacts({"model": b"1", "plots/a.png": b"2", "plots/b.png": b"3", "x": b"4"}).serve(gateway)
    got = client.job("1").download(tmp_path, paths=["plots", "x"])
    assert [path.relative_to(tmp_path).as_posix() for path in got] == ["plots/a.png", "plots/b.png", "x"]


def test_a_path_that_picks_nothing_is_an_error(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    Artifacts({"model": b"1"}).serve(gateway)
    with pytest.raises(errors.ArtifactNotFound, match="nothing"):
        client.job("1").download(tmp_path, paths=["nothing"])


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\\..\\x"])
def test_an_artifact_cannot_leave_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(errors.Corrupt):
        target_path(tmp_path, path)


def test_an_archive_is_one_file(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    gateway.on(
        "DownloadArtifact",
        lambda request, context: iter([artifact_service_pb2.DownloadArtifactResponse(chunk=b"PK")]),
    )
    client.artifacts.download_archive("1", tmp_path / "all.zip", path="plots")
    assert (tmp_path / "all.zip").read_bytes() == b"PK"
    assert gateway.requests["DownloadArtifact"][0].name == "jobs/1/artifacts/plots/"
