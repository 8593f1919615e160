"""Bad data, broken transfers and impossible requests: each is refused in words, and leaves nothing behind."""

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support import bad_archives
from tests.support.platform import Platform, eventually, fake_spec
from tests.support.refusals import refused
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore
from tuneyard.v1 import artifact_service_pb2, dataset_pb2, job_pb2, training_pb2
from tuneyard.v1 import dataset_service_pb2 as datasets_pb
from tuneyard.v1 import training_service_pb2 as training_pb

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FOLDER = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
UPLOADING, READY = dataset_pb2.DATASET_STATE_UPLOADING, dataset_pb2.DATASET_STATE_READY
INVALID = dataset_pb2.DATASET_STATE_INVALID
PART, MIB = 8 << 20, 1 << 20


@pytest.fixture(autouse=True)
def nothing_is_left_and_the_next_job_runs(fakes: Platform) -> Iterator[None]:
    yield
    assert_store_is_whole(fakes)
    job = fakes.train(fake_spec("steps=2,dataset=1"))
    fakes.watch(job.name).wait(within=30)
    assert fakes.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, fakes.job(job.name).error


def assert_store_is_whole(fakes: Platform) -> None:
    """Every stored dataset has the bytes of its record; nothing lies under no key or half-way to one."""
    store = FolderStore(fakes.root / "store", public_url="")
    listed = {dataset.name: dataset for dataset in all_datasets(fakes)}
    for found in store.list("datasets/"):
        owner = listed.get("/".join(found.key.split("/")[:2]))
        if owner is not None:
            assert owner.state != UPLOADING
            assert (found.size_bytes, found.sha256) == (owner.size_bytes, owner.sha256)
    assert list((fakes.root / "store" / "incoming").iterdir()) == []
    linked = {os.path.basename(path.readlink()) for path in links(fakes.root / "store" / "objects")}
    stored = {path.name for path in (fakes.root / "store" / "blobs").glob("*/*")}
    assert stored == linked


def links(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_symlink())


def all_datasets(fakes: Platform) -> list[dataset_pb2.Dataset]:
    request = datasets_pb.ListDatasetsRequest(page_size=1000)
    return list(fakes.call(lambda channel: fakes.datasets(channel).ListDatasets(request)).datasets)


def create(fakes: Platform, content: bytes, **fields: Any) -> dataset_pb2.Dataset:
    values = {"format": FOLDER, "size_bytes": len(content)} | fields
    request = datasets_pb.CreateDatasetRequest(**values)
    return fakes.call(lambda channel: fakes.datasets(channel).CreateDataset(request, timeout=10)).dataset


def parts(
    name: str, content: bytes, *, offset: int = 0, chunk_bytes: int = MIB
) -> Iterator[datasets_pb.UploadDatasetRequest]:
    yield datasets_pb.UploadDatasetRequest(header=datasets_pb.UploadHeader(name=name, offset=offset))
    for start in range(offset, len(content), chunk_bytes):
        yield datasets_pb.UploadDatasetRequest(chunk=content[start : start + chunk_bytes])


def send(fakes: Platform, name: str, content: bytes, **settings: int) -> dataset_pb2.Dataset:
    with fakes.channel() as channel:
        answer = fakes.datasets(channel).UploadDataset(parts(name, content, **settings), timeout=30)
    return answer.dataset


def judged(fakes: Platform, content: bytes) -> dataset_pb2.Dataset:
    """A dataset after its upload and validation."""
    created = create(fakes, content)
    send(fakes, created.name, content)
    identifier = created.name.removeprefix("datasets/")
    eventually(
        lambda: fakes.dataset(identifier).state in (READY, INVALID), within=30, what="the validation's end"
    )
    return fakes.dataset(identifier)


def refused_call(fakes: Platform, service: str, method: str, request: Any) -> TuneyardError:
    with fakes.channel() as channel:
        return refused(lambda: getattr(getattr(fakes, service)(channel), method)(request, timeout=30))


def refused_job(fakes: Platform, **spec: Any) -> TuneyardError:
    filled = fake_spec("steps=2")
    filled.MergeFrom(training_pb2.TrainingSpec(**spec))
    return refused_call(fakes, "training", "Train", training_pb.TrainRequest(spec=filled))


ARCHIVES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "no ZIP": (lambda: b"this is not a ZIP file", "ARCHIVE_CORRUPT", ""),
    "cut off": (lambda: bad_archives.good()[:-40], "ARCHIVE_CORRUPT", ""),
    "damaged member": (bad_archives.damaged_member, "ARCHIVE_CORRUPT", "dog/3.png"),
    "encrypted": (bad_archives.encrypted, "ARCHIVE_ENCRYPTED", "cat/0.png"),
    "nested": (
        lambda: bad_archives.with_member("dog/more.zip", bad_archives.good()),
        "ARCHIVE_NESTED",
        "dog/more.zip",
    ),
    "nested in disguise": (
        lambda: bad_archives.with_member("dog/more.png", bad_archives.good()),
        "ARCHIVE_NESTED",
        "dog/more.png",
    ),
    "bomb": (
        lambda: bad_archives.with_member("dog/bomb.png", bytes(64 * MIB)),
        "ARCHIVE_BOMB",
        "dog/bomb.png",
    ),
    "path upwards": (
        lambda: bad_archives.with_member("../../evil.png"),
        "ARCHIVE_UNSAFE_PATH",
        "../../evil.png",
    ),
    "absolute path": (
        lambda: bad_archives.with_member("/etc/evil.png"),
        "ARCHIVE_UNSAFE_PATH",
        "/etc/evil.png",
    ),
    "drive": (lambda: bad_archives.with_member("C:/evil.png"), "ARCHIVE_UNSAFE_PATH", "C:/evil.png"),
    "link": (bad_archives.with_link, "ARCHIVE_SPECIAL_FILE", "dog/link.png"),
    "class without an image": (lambda: bad_archives.with_member("bird/", b""), "CLASS_EMPTY", "bird"),
    "one class": (lambda: bad_archives.archive(bad_archives.folders({"cat": 12})), "CLASS_SINGLE", ""),
    "no image": (lambda: bad_archives.archive({"cat/notes.txt": b"none"}), "NO_IMAGES", ""),
    "class without a validation image": (
        lambda: bad_archives.archive(bad_archives.folders({"train/cat": 9, "train/dog": 9, "val/cat": 3})),
        "CLASS_MISSING_IN_SPLIT",
        "train/dog",
    ),
    "class of the validation split alone": (
        lambda: bad_archives.archive(
            bad_archives.folders({"train/cat": 9, "train/dog": 9, "val/cat": 3, "val/dog": 3, "val/bird": 3})
        ),
        "CLASS_NOT_IN_TRAIN",
        "val/bird",
    ),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_bad_data_is_refused_with_its_place_and_a_remedy(fakes: Platform, case: str) -> None:
    make, code, path = ARCHIVES[case]
    dataset = judged(fakes, make())
    assert dataset.state == INVALID
    errors = {f.code: f for f in dataset.report.findings if f.severity == dataset_pb2.SEVERITY_ERROR}
    assert code in errors, errors
    found = errors[code]
    assert found.path == path
    assert found.message and found.remedy
    error = refused_job(fakes, dataset=dataset.name)
    assert (error.reason, error.resource) == ("DATASET_INVALID", dataset.name)
    assert found.message in error.message
    if path:
        assert path in error.message
    assert not list((fakes.root).rglob("evil.png"))


def test_few_broken_images_are_listed_and_skipped(fakes: Platform) -> None:
    dataset = judged(fakes, bad_archives.with_broken_images(2, of=80))
    assert dataset.state == READY
    assert sorted(dataset.report.excluded) == ["cat/broken-0.png", "cat/broken-1.png"]
    broken = [found for found in dataset.report.findings if found.path in dataset.report.excluded]
    assert {found.severity for found in broken} == {dataset_pb2.SEVERITY_WARNING}
    assert all(found.remedy for found in broken)
    assert dataset.report.samples == 78


def test_many_broken_images_are_listed_and_refused(fakes: Platform) -> None:
    dataset = judged(fakes, bad_archives.with_broken_images(6, of=40))
    assert dataset.state == INVALID
    assert dataset.report.counts["IMAGES_BROKEN"] == 1
    listed = {found.path for found in dataset.report.findings if found.code == "IMAGE_TRUNCATED"}
    assert listed == {f"cat/broken-{number}.png" for number in range(6)}


def test_a_message_beyond_the_limit_is_refused_and_nothing_of_it_kept(fakes: Platform) -> None:
    content = os.urandom(40 * MIB)
    created = create(fakes, content)
    error = refused(lambda: send(fakes, created.name, content, chunk_bytes=40 * MIB))
    assert error.reason == "MESSAGE_TOO_LARGE"
    assert re.search(r"\d+ bytes; at most \d+", error.message)
    assert fakes.dataset(created.name.removeprefix("datasets/")).upload.received_bytes == 0


def test_a_message_beyond_all_limits_ends_the_call_at_once(fakes: Platform) -> None:
    content = bytes(96 * MIB)
    created = create(fakes, content)
    with pytest.raises(grpc.RpcError) as refusal:
        send(fakes, created.name, content, chunk_bytes=len(content))
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert fakes.dataset(created.name.removeprefix("datasets/")).upload.received_bytes == 0


def test_a_spec_beyond_the_limit_is_refused(fakes: Platform) -> None:
    weights = {f"class-{number:07}": 1.0 for number in range(60_000)}
    task = training_pb2.ImageClassifier(class_weights=weights)
    error = refused_job(fakes, image_classifier=task)
    assert error.reason == "MESSAGE_TOO_LARGE"


def test_a_dataset_of_five_tebibytes_is_refused_by_its_field(fakes: Platform) -> None:
    request = datasets_pb.CreateDatasetRequest(format=FOLDER, size_bytes=5 << 40)
    error = refused_call(fakes, "datasets", "CreateDataset", request)
    assert [violation.field for violation in error.violations] == ["size_bytes"]
    assert "at most" in error.violations[0].description


def test_bytes_that_are_not_those_announced_are_refused(fakes: Platform) -> None:
    content = bad_archives.good()
    created = create(fakes, content, sha256=hashlib.sha256(b"other").hexdigest())
    error = refused(lambda: send(fakes, created.name, content))
    assert (error.reason, error.resource) == ("CHECKSUM_MISMATCH", created.name)
    assert "again" in error.message
    found = fakes.dataset(created.name.removeprefix("datasets/"))
    assert (found.state, found.upload.received_bytes) == (UPLOADING, 0)


def test_more_bytes_than_announced_are_refused(fakes: Platform) -> None:
    content = bad_archives.good()
    created = create(fakes, content)
    error = refused(lambda: send(fakes, created.name, content + b"more"))
    assert [violation.field for violation in error.violations] == ["chunk"]


def test_a_wrong_offset_is_answered_with_the_right_one(fakes: Platform) -> None:
    content = os.urandom(PART + MIB)
    created = create(fakes, content)
    send(fakes, created.name, content[:PART])
    error = refused(lambda: send(fakes, created.name, content, offset=7))
    assert (error.reason, error.metadata["offset"]) == ("UPLOAD_OFFSET_MISMATCH", str(PART))


def padded_archive(size: int) -> bytes:
    """A good archive with files that are ignored, so that it has several parts."""
    content = io.BytesIO(bad_archives.good())
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as target:
        target.writestr("__MACOSX/padding", os.urandom(size))
    return content.getvalue()


def test_an_upload_cut_by_a_killed_gateway_goes_on_from_its_stored_parts(fakes: Platform) -> None:
    content = padded_archive(3 * PART)
    created = create(fakes, content, sha256=hashlib.sha256(content).hexdigest())
    identifier = created.name.removeprefix("datasets/")

    def cut() -> Iterator[datasets_pb.UploadDatasetRequest]:
        for number, part in enumerate(parts(created.name, content)):
            if number == 20:
                eventually(
                    lambda: fakes.dataset(identifier).upload.received_bytes >= PART, within=10, what="a part"
                )
                fakes.gateway.kill()
            yield part

    with fakes.channel() as channel, suppress(grpc.RpcError):
        fakes.datasets(channel).UploadDataset(cut(), timeout=30)
    fakes.gateway.start()
    fakes.wait_ready()
    received = fakes.dataset(identifier).upload.received_bytes
    assert PART <= received < len(content)
    assert received % PART == 0
    done = send(fakes, created.name, content, offset=received)
    assert done.sha256 == hashlib.sha256(content).hexdigest()
    eventually(lambda: fakes.dataset(identifier).state == READY, within=30, what="a READY dataset")


def test_a_dataset_in_use_is_not_deleted_and_names_its_jobs(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=10000,step_ms=20"))
    request = datasets_pb.DeleteDatasetRequest(name="datasets/tiny")
    error = refused_call(fakes, "datasets", "DeleteDataset", request)
    assert error.reason == "DATASET_IN_USE"
    assert job.name in error.message
    fakes.cancel(job.name)
    fakes.watch(job.name).wait(within=15)
    assert fakes.dataset("tiny").state == READY


def test_one_request_id_makes_one_job_and_no_other(fakes: Platform) -> None:
    first = fakes.train(fake_spec("steps=2"), request_id="twice")
    assert fakes.train(fake_spec("steps=2"), request_id="twice").name == first.name
    other = training_pb.TrainRequest(spec=fake_spec("steps=3"), request_id="twice")
    error = refused_call(fakes, "training", "Train", other)
    assert error.reason == "REQUEST_ID_REUSED"
    assert error.code is grpc.StatusCode.ALREADY_EXISTS
    # What a job stores is half-way while it is being stored.
    fakes.watch(first.name).wait(within=30)


def test_one_request_id_makes_one_dataset_and_no_other(fakes: Platform) -> None:
    first = create(fakes, b"12345", request_id="twice")
    assert create(fakes, b"12345", request_id="twice").name == first.name
    other = datasets_pb.CreateDatasetRequest(format=FOLDER, size_bytes=9, request_id="twice")
    assert refused_call(fakes, "datasets", "CreateDataset", other).reason == "REQUEST_ID_REUSED"


NO_JOB = "jobs/01a00000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("service", "method", "request_", "reason"),
    [
        ("training", "GetJob", training_pb.GetJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        ("training", "CancelJob", training_pb.CancelJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        ("training", "PauseJob", training_pb.PauseJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        ("training", "ResumeJob", training_pb.ResumeJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        ("training", "DeleteJob", training_pb.DeleteJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        ("training", "RerunJob", training_pb.RerunJobRequest(name=NO_JOB), "JOB_NOT_FOUND"),
        (
            "artifacts",
            "ListArtifacts",
            artifact_service_pb2.ListArtifactsRequest(parent=NO_JOB),
            "JOB_NOT_FOUND",
        ),
        ("datasets", "GetDataset", datasets_pb.GetDatasetRequest(name="datasets/none"), "DATASET_NOT_FOUND"),
        (
            "datasets",
            "DeleteDataset",
            datasets_pb.DeleteDatasetRequest(name="datasets/none"),
            "DATASET_NOT_FOUND",
        ),
    ],
)
def test_a_name_of_nothing_is_not_found(
    fakes: Platform, service: str, method: str, request_: Any, reason: str
) -> None:
    error = refused_call(fakes, service, method, request_)
    assert (error.reason, error.code) == (reason, grpc.StatusCode.NOT_FOUND)
    assert error.resource in (NO_JOB, "datasets/none")


@pytest.mark.parametrize("name", ["", "jobs/", "jobs/../x", "datasets/x", "jobs/x/y", "x" * 300, "jobs/\x00"])
def test_what_is_no_name_of_a_job_is_refused(fakes: Platform, name: str) -> None:
    error = refused_call(fakes, "training", "GetJob", training_pb.GetJobRequest(name=name))
    assert error.reason in ("INVALID_FIELD", "JOB_NOT_FOUND")
    if error.reason == "INVALID_FIELD":
        assert [violation.field for violation in error.violations] == ["name"]


def test_an_upload_to_a_dataset_of_nobody_is_refused(fakes: Platform) -> None:
    assert refused(lambda: send(fakes, "datasets/none", b"x")).reason == "DATASET_NOT_FOUND"


def test_a_job_with_an_unknown_dataset_is_refused(fakes: Platform) -> None:
    error = refused_job(fakes, dataset="datasets/none")
    assert (error.reason, error.resource) == ("DATASET_NOT_FOUND", "datasets/none")


def test_an_unfinished_upload_ends_with_its_dataset(fakes: Platform) -> None:
    created = create(fakes, bytes(2 * PART))
    send(fakes, created.name, bytes(PART))
    for dataset in all_datasets(fakes):
        if dataset.state == UPLOADING:
            request = datasets_pb.DeleteDatasetRequest(name=dataset.name)
            fakes.call(lambda c, r=request: fakes.datasets(c).DeleteDataset(r, timeout=10))  # type: ignore[misc]
    assert list((fakes.root / "store" / "uploads").iterdir()) == []
    get = datasets_pb.GetDatasetRequest(name=created.name)
    assert refused_call(fakes, "datasets", "GetDataset", get).reason == "DATASET_NOT_FOUND"
