import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.support.worker_folder import MakeFolder, WorkerFolder
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.v1.dataset_pb2 import DatasetFormat, SplitFacts, ValidationReport
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.trainer_service_pb2 import DatasetSource, ModelSource


def archive() -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in ("cats/1.png", "cats/2.png", "dogs/1.png", "dogs/broken.png"):
            file.writestr(f"pets/{name}", picture.getvalue())
    return packed.getvalue()


def source(content: bytes, *, sha256: str = "") -> DatasetSource:
    return DatasetSource(
        name="datasets/pets",
        format=DatasetFormat.DATASET_FORMAT_IMAGE_FOLDER,
        key="datasets/pets/data",
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        report=ValidationReport(
            classes=["cats", "dogs"],
            splits=[SplitFacts(split="train", samples=3, samples_per_class={"cats": 2, "dogs": 1})],
            excluded=["dogs/broken.png"],
            samples=3,
        ),
    )


def folder_with(make: MakeFolder, content: bytes, *, sha256: str = "", stored: bool = True) -> WorkerFolder:
    folder = make("fake:", dataset=source(content, sha256=sha256))
    if stored:
        folder.store().put("datasets/pets/data", content)
    return folder


def reason_of(folder: WorkerFolder) -> str:
    run = folder.run()
    try:
        with pytest.raises(RecipeError) as caught:
            run.dataset()
    finally:
        run.close()
    assert caught.value.remedies
    assert str(folder.root) not in caught.value.message
    assert not list((folder.root / "cache").glob("datasets/*"))
    return caught.value.reason


def test_a_dataset_is_unpacked_without_what_its_report_excludes(worker_folder: MakeFolder) -> None:
    run = folder_with(worker_folder, archive()).run()
    files = run.dataset()
    names = sorted(str(path.relative_to(files.dir)) for path in files.dir.rglob("*.png"))
    assert names == ["cats/1.png", "cats/2.png", "dogs/1.png"]
    assert files.report.classes == ("cats", "dogs")
    assert files.report.splits["train"].per_class == {"cats": 2, "dogs": 1}
    assert files.report.format == "image-folder"
    run.close()


def test_a_dataset_is_fetched_once(worker_folder: MakeFolder) -> None:
    folder = folder_with(worker_folder, archive())
    run = folder.run()
    first = run.dataset()
    folder.store().delete("datasets/pets/data")
    assert run.dataset() == first
    run.close()
    second = folder.next().run()
    assert second.dataset() == first
    second.close()


def test_an_absent_dataset_is_unreadable(worker_folder: MakeFolder) -> None:
    assert reason_of(folder_with(worker_folder, archive(), stored=False)) == "DATASET_UNREADABLE"


def test_other_bytes_than_were_uploaded_are_unreadable(worker_folder: MakeFolder) -> None:
    assert reason_of(folder_with(worker_folder, archive(), sha256="0" * 64)) == "DATASET_UNREADABLE"


def test_what_is_no_archive_is_unreadable(worker_folder: MakeFolder) -> None:
    assert reason_of(folder_with(worker_folder, b"no archive at all")) == "DATASET_UNREADABLE"


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_ends_the_fetching(worker_folder: MakeFolder, stop: Stop) -> None:
    folder = folder_with(worker_folder, archive())
    folder.control(stop)
    run = folder.run()
    with pytest.raises(Stopped) as caught:
        run.dataset()
    assert caught.value.mode is stop
    run.close()


def test_without_a_validation_dataset_or_a_stored_model_there_is_none(worker_folder: MakeFolder) -> None:
    run = worker_folder().run()
    assert run.validation_dataset() is None
    assert run.model_files() is None
    run.close()


def model(folder: Path, *, path: str = "model.safetensors", content: bytes = b"weights") -> ModelSource:
    digest = hashlib.sha256(b"weights").hexdigest()
    file = StoredFile(path=path, key=f"models/m/{folder.name}", size_bytes=len(content), sha256=digest)
    return ModelSource(name="models/m", files=[file], sha256="12" * 32)


def test_a_stored_model_is_a_folder_of_its_files(worker_folder: MakeFolder, tmp_path: Path) -> None:
    folder = worker_folder("fake:", model=model(tmp_path, path="unet/model.safetensors"))
    folder.store().put(f"models/m/{tmp_path.name}", b"weights")
    run = folder.run()
    files = run.model_files()
    assert files is not None and (files / "unet/model.safetensors").read_bytes() == b"weights"
    run.close()


@pytest.mark.parametrize(("path", "content"), [("../evil", b"weights"), ("model.safetensors", b"other")])
def test_a_stored_model_with_wrong_names_or_bytes_is_refused(
    worker_folder: MakeFolder, tmp_path: Path, path: str, content: bytes
) -> None:
    folder = worker_folder("fake:", model=model(tmp_path, path=path))
    folder.store().put(f"models/m/{tmp_path.name}", content)
    run = folder.run()
    with pytest.raises(RecipeError) as caught:
        run.model_files()
    assert caught.value.reason == "BASE_MODEL_UNAVAILABLE"
    run.close()


def artifacts(*files: tuple[str, bytes]) -> list[StoredFile]:
    return [
        StoredFile(
            path=path,
            key=f"jobs/source/attempts/1/artifacts/{path}",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        for path, content in files
    ]


def test_a_source_jobs_artifacts_are_a_folder_fetched_once(worker_folder: MakeFolder) -> None:
    stored = artifacts(("model.safetensors", b"weights"), ("samples/1.png", b"picture"))
    folder = worker_folder("fake:", source_artifacts=stored)
    for file, content in zip(stored, (b"weights", b"picture"), strict=True):
        folder.store().put(file.key, content)
    run = folder.run()
    files = run.source_artifacts()
    assert (files / "samples/1.png").read_bytes() == b"picture"
    folder.store().delete(stored[0].key)
    assert run.source_artifacts() == files
    run.close()


@pytest.mark.parametrize("stored", [artifacts(), artifacts(("model.safetensors", b"weights"))])
def test_without_a_source_jobs_artifacts_there_is_no_model(
    worker_folder: MakeFolder, stored: list[StoredFile]
) -> None:
    run = worker_folder("fake:", source_artifacts=stored).run()
    with pytest.raises(RecipeError) as caught:
        run.source_artifacts()
    assert caught.value.reason == "MODEL_NOT_FOUND" and caught.value.remedies
    run.close()
