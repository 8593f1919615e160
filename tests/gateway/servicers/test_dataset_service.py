"""Datasets over the wire: uploads that resume, imports, verdicts, refusals."""

import asyncio
import io
import itertools
import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.defects_captioned import photo
from tests.support.edge import Edge, image_folder, refusal, running_edge, sha256_of, upload_requests
from tuneyard.v1 import dataset_pb2, training_pb2, training_service_pb2
from tuneyard.v1 import dataset_service_pb2 as pb

PART = 8 * 1024 * 1024
FOLDER = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
READY, INVALID = dataset_pb2.DATASET_STATE_READY, dataset_pb2.DATASET_STATE_INVALID


def big_content(parts: float) -> bytes:
    return b"0123456789abcdef" * int(parts * PART / 16)


async def received(edge: Edge, name: str) -> int:
    found = await edge.datasets.GetDataset(pb.GetDatasetRequest(name=name))
    return int(found.dataset.upload.received_bytes)


async def test_an_uploaded_image_folder_becomes_ready_with_its_report(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content, dataset_id="shapes", sha256=sha256_of(content))
    assert created.state == dataset_pb2.DATASET_STATE_UPLOADING
    uploaded = await edge.upload(created.name, content)
    assert uploaded.state == dataset_pb2.DATASET_STATE_VALIDATING
    dataset = await edge.settled(created.name)
    assert (dataset.state, dataset.sha256) == (READY, sha256_of(content))
    assert sorted(dataset.report.classes) == ["blue", "green", "red"]
    assert dataset.report.samples == 36


async def test_an_upload_resumes_from_the_parts_that_were_stored(edge: Edge) -> None:
    content = big_content(2.5)
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    cut = await edge.upload(created.name, content[: int(1.7 * PART)])
    assert cut.state == dataset_pb2.DATASET_STATE_UPLOADING
    assert cut.upload.received_bytes == int(1.7 * PART)
    done = await edge.upload(created.name, content, offset=cut.upload.received_bytes, chunk_bytes=300_000)
    assert done.state == dataset_pb2.DATASET_STATE_VALIDATING
    assert done.sha256 == sha256_of(content)


@pytest.mark.parametrize("piece_bytes", [7, 100, 1000])
async def test_an_upload_may_come_in_pieces_of_any_size(edge: Edge, piece_bytes: int) -> None:
    content = image_folder()
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    for start in range(0, 3 * piece_bytes, piece_bytes):
        piece = await edge.upload(created.name, content[: start + piece_bytes], offset=start)
        assert piece.upload.received_bytes == start + piece_bytes
    await edge.upload(created.name, content, offset=3 * piece_bytes)
    assert (await edge.settled(created.name)).sha256 == sha256_of(content)
    assert [each.key.rpartition("/")[2] for each in edge.store.list(f"{created.name}/")] == ["data"]


async def test_pieces_may_end_in_any_part(edge: Edge) -> None:
    content = big_content(3.25)
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    start = 0
    for end in (5, PART - 1, PART + 3, 2 * PART, 3 * PART + 1):
        piece = await edge.upload(created.name, content[:end], offset=start)
        assert piece.upload.received_bytes == end
        assert len(list(edge.store.list(f"{created.name}/"))) == (0 if end % PART == 0 else 1)
        start = end
    assert (await edge.upload(created.name, content, offset=start)).sha256 == sha256_of(content)


async def test_signed_parts_go_before_a_piece_of_the_same_part(edge: Edge) -> None:
    content = big_content(1.25)
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    await edge.upload(created.name, content[:100])
    request = pb.SignDatasetUploadRequest(name=created.name, part_numbers=[1])
    signed = (await edge.datasets.SignDatasetUpload(request)).parts
    async with httpx.AsyncClient() as client:
        assert (await client.put(signed[0].url, content=content[:PART])).status_code == 200
    assert await received(edge, created.name) == PART
    assert (await edge.upload(created.name, content, offset=PART)).sha256 == sha256_of(content)


async def test_an_upload_resumes_after_the_gateway_was_restarted(tmp_path: Path) -> None:
    content = big_content(1.5)
    async with running_edge(tmp_path) as edge:
        created = await edge.create_dataset(content)
        await edge.upload(created.name, content[: PART + 5])
    async with running_edge(tmp_path) as edge:
        assert await received(edge, created.name) == PART + 5
        done = await edge.upload(created.name, content, offset=PART + 5)
    assert done.sha256 == sha256_of(content)


async def test_a_wrong_offset_is_answered_with_the_right_one(edge: Edge) -> None:
    content = big_content(1.5)
    created = await edge.create_dataset(content)
    await edge.upload(created.name, content[:PART])
    error = await refusal(edge.datasets.UploadDataset(upload_requests(created.name, content, 0)))
    assert (error.reason, error.metadata["offset"]) == ("UPLOAD_OFFSET_MISMATCH", str(PART))


async def test_bytes_with_another_hash_are_refused_and_can_be_sent_again(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    error = await refusal(edge.datasets.UploadDataset(upload_requests(created.name, bytes(len(content)))))
    assert error.reason == "CHECKSUM_MISMATCH"
    found = (await edge.datasets.GetDataset(pb.GetDatasetRequest(name=created.name))).dataset
    assert (found.state, found.upload.received_bytes) == (dataset_pb2.DATASET_STATE_UPLOADING, 0)
    await edge.upload(created.name, content)
    assert (await edge.settled(created.name)).state == READY


def lose_uploads(edge: Edge) -> None:
    """What is left where the gateway died after its store had refused or swept the bytes."""
    shutil.rmtree(edge.folder / "store" / "uploads")
    (edge.folder / "store" / "uploads").mkdir()


async def test_an_upload_that_the_store_has_lost_begins_again(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    lose_uploads(edge)
    uploaded = await edge.upload(created.name, content)
    assert uploaded.state == dataset_pb2.DATASET_STATE_VALIDATING


async def test_completing_an_upload_that_the_store_has_lost_asks_for_its_bytes(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content)
    lose_uploads(edge)
    request = pb.CompleteDatasetUploadRequest(name=created.name)
    error = await refusal(edge.datasets.CompleteDatasetUpload(request))
    assert (error.reason, error.metadata["offset"]) == ("UPLOAD_OFFSET_MISMATCH", "0")


async def test_urls_of_an_upload_that_the_store_has_lost_are_those_of_one_new_upload(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content)
    lose_uploads(edge)
    request = pb.SignDatasetUploadRequest(name=created.name, part_numbers=[1])
    signed = await asyncio.gather(*(edge.datasets.SignDatasetUpload(request) for _ in range(4)))
    async with httpx.AsyncClient() as client:
        assert (await client.put(signed[0].parts[0].url, content=content)).status_code == 200
    done = await edge.datasets.CompleteDatasetUpload(pb.CompleteDatasetUploadRequest(name=created.name))
    assert done.dataset.sha256 == sha256_of(content)


async def test_more_bytes_than_announced_are_refused(edge: Edge) -> None:
    created = await edge.create_dataset(b"12345")
    error = await refusal(edge.datasets.UploadDataset(upload_requests(created.name, b"1234567")))
    assert error.reason == "INVALID_FIELD"
    assert error.violations[0].field == "chunk"


async def test_a_finished_upload_may_be_asked_for_again(edge: Edge) -> None:
    content = image_folder()
    created = await edge.create_dataset(content)
    await edge.upload(created.name, content)
    again = await edge.upload(created.name, content, offset=len(content))
    assert again.state != dataset_pb2.DATASET_STATE_UPLOADING


async def test_a_stream_must_begin_with_its_header(edge: Edge) -> None:
    chunk = pb.UploadDatasetRequest(chunk=b"x")
    error = await refusal(edge.datasets.UploadDataset(iter([chunk])))
    assert error.violations[0].field == "header"


async def test_parts_can_be_put_to_signed_urls(edge: Edge) -> None:
    content = big_content(1.25)
    created = await edge.create_dataset(content, sha256=sha256_of(content))
    request = pb.SignDatasetUploadRequest(name=created.name, part_numbers=[1, 2])
    signed = (await edge.datasets.SignDatasetUpload(request)).parts
    async with httpx.AsyncClient() as client:
        for part in signed:
            start = (part.part_number - 1) * PART
            answer = await client.put(part.url, content=content[start : start + PART])
            assert answer.status_code == 200
    done = await edge.datasets.CompleteDatasetUpload(pb.CompleteDatasetUploadRequest(name=created.name))
    assert done.dataset.sha256 == sha256_of(content)


async def test_an_upload_with_missing_parts_cannot_be_completed(edge: Edge) -> None:
    created = await edge.create_dataset(b"12345")
    request = pb.CompleteDatasetUploadRequest(name=created.name)
    assert (await refusal(edge.datasets.CompleteDatasetUpload(request))).metadata["offset"] == "0"
    sign = pb.SignDatasetUploadRequest(name=created.name, part_numbers=[1, 2])
    assert (await refusal(edge.datasets.SignDatasetUpload(sign))).violations[0].field == "part_numbers[1]"


async def test_creating_twice_with_one_request_id_makes_one_dataset(edge: Edge) -> None:
    first = await edge.create_dataset(b"12345", request_id="r1")
    assert (await edge.create_dataset(b"12345", request_id="r1")).name == first.name
    other = pb.CreateDatasetRequest(format=FOLDER, size_bytes=7, request_id="r1")
    assert (await refusal(edge.datasets.CreateDataset(other))).reason == "REQUEST_ID_REUSED"
    listed = await edge.datasets.ListDatasets(pb.ListDatasetsRequest())
    assert listed.total_size == 1


async def test_an_id_that_is_taken_is_refused(edge: Edge) -> None:
    await edge.create_dataset(b"1", dataset_id="digits")
    request = pb.CreateDatasetRequest(dataset_id="digits", format=FOLDER, size_bytes=1)
    error = await refusal(edge.datasets.CreateDataset(request))
    assert (error.reason, error.resource) == ("ALREADY_EXISTS", "datasets/digits")


async def test_captioned_images_become_ready_with_what_an_epoch_makes_of_them(edge: Edge) -> None:
    members = {f"10_sks dog__{number}.jpg": photo(number) for number in range(3)}
    content = _zip(**members, **{"reg__1_dog__1.jpg": photo(3)})
    format = dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES
    created = await edge.create_dataset(content, format=format)
    await edge.upload(created.name, content)
    dataset = await edge.settled(created.name)
    assert (dataset.state, dataset.report.samples) == (READY, 4)
    assert dict(dataset.report.splits[0].samples_per_class) == {"instance": 30, "class": 1}


async def test_a_format_that_is_not_named_is_refused(edge: Edge) -> None:
    error = await refusal(edge.datasets.CreateDataset(pb.CreateDatasetRequest(size_bytes=1)))
    assert error.reason == "INVALID_FIELD"


def _zip(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"not a zip at all", "ARCHIVE_CORRUPT"),
        (image_folder()[:-40], "ARCHIVE_CORRUPT"),
        (_zip(bomb=bytes(300_000_000)), "ARCHIVE_BOMB"),
        (_zip(**{"..__evil.png": b"x"}), "ARCHIVE_UNSAFE_PATH"),
        (image_folder(classes=("only",)), "CLASS_SINGLE"),
        (_zip(readme=b"hello"), "NO_IMAGES"),
    ],
)
async def test_a_bad_archive_is_invalid_and_says_why(edge: Edge, content: bytes, code: str) -> None:
    name = await edge.ready_dataset("bad", content)
    dataset = await edge.settled(name)
    assert dataset.state == INVALID
    assert code in dataset.report.counts
    assert all(finding.remedy for finding in dataset.report.findings)


async def test_the_next_dataset_is_judged_after_a_bad_one(edge: Edge) -> None:
    bad = await edge.ready_dataset("bad", b"nonsense")
    assert (await edge.settled(bad)).state == INVALID
    assert (await edge.settled(await edge.ready_dataset("good"))).state == READY


async def test_a_dataset_that_was_being_validated_is_validated_after_a_restart(tmp_path: Path) -> None:
    content = image_folder()
    async with running_edge(tmp_path) as edge:
        created = await edge.create_dataset(content)
        await edge.upload(created.name, content)
    async with running_edge(tmp_path) as edge:
        assert (await edge.settled(created.name)).state == READY


async def test_a_folder_below_an_allowed_root_is_imported(edge: Edge) -> None:
    with zipfile.ZipFile(io.BytesIO(image_folder())) as archive:
        archive.extractall(edge.folder / "imports" / "shapes")
    request = pb.ImportDatasetRequest(format=FOLDER, source=str(edge.folder / "imports" / "shapes"))
    imported = (await edge.datasets.ImportDataset(request)).dataset
    assert imported.state == dataset_pb2.DATASET_STATE_VALIDATING
    dataset = await edge.settled(imported.name)
    assert (dataset.state, dataset.report.samples) == (READY, 36)
    assert dataset.size_bytes > 0
    assert len(dataset.sha256) == 64


@pytest.mark.parametrize("source", ["/etc", "imports/../..", "relative", "s3://bucket/x", "/no/such/folder"])
async def test_other_sources_are_refused_alike(edge: Edge, source: str) -> None:
    path = source if source.startswith(("/", "s3:", "rel")) else f"{edge.folder}/{source}"
    error = await refusal(edge.datasets.ImportDataset(pb.ImportDatasetRequest(format=FOLDER, source=path)))
    assert error.reason == "SOURCE_NOT_ALLOWED"
    assert str(edge.folder) not in error.message


async def test_a_link_out_of_an_allowed_root_is_refused(edge: Edge, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (edge.folder / "imports" / "link").symlink_to(tmp_path / "secret")
    request = pb.ImportDatasetRequest(format=FOLDER, source=str(edge.folder / "imports" / "link"))
    assert (await refusal(edge.datasets.ImportDataset(request))).reason == "SOURCE_NOT_ALLOWED"


async def test_lists_come_in_pages_newest_first(edge: Edge) -> None:
    for number in range(3):
        await edge.create_dataset(b"1", dataset_id=f"d{number}")
    first = await edge.datasets.ListDatasets(pb.ListDatasetsRequest(page_size=2))
    second = await edge.datasets.ListDatasets(
        pb.ListDatasetsRequest(page_size=2, page_token=first.next_page_token)
    )
    found = [dataset.name for page in (first, second) for dataset in page.datasets]
    assert found == ["datasets/d2", "datasets/d1", "datasets/d0"]
    assert (first.total_size, second.next_page_token) == (3, "")
    error = await refusal(edge.datasets.ListDatasets(pb.ListDatasetsRequest(page_token="x")))
    assert error.reason == "INVALID_PAGE_TOKEN"


async def test_a_dataset_in_use_is_not_deleted_and_the_jobs_are_named(edge: Edge) -> None:
    name = await edge.ready_dataset()
    spec = training_pb2.TrainingSpec(dataset=name, base_model="resnet18")
    spec.image_classifier.SetInParent()
    job = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    error = await refusal(edge.datasets.DeleteDataset(pb.DeleteDatasetRequest(name=name)))
    assert error.reason == "DATASET_IN_USE"
    assert job.name in error.message
    await edge.training.CancelJob(training_service_pb2.CancelJobRequest(name=job.name))
    await edge.datasets.DeleteDataset(pb.DeleteDatasetRequest(name=name))
    gone = await refusal(edge.datasets.GetDataset(pb.GetDatasetRequest(name=name)))
    assert gone.reason == "DATASET_NOT_FOUND"


async def test_wrong_names_are_typed_errors(edge: Edge) -> None:
    reasons = {"datasets/none": "DATASET_NOT_FOUND", "none": "INVALID_FIELD", "": "INVALID_FIELD"}
    methods = ("GetDataset", "DeleteDataset", "CompleteDatasetUpload")
    for method, name in itertools.product(methods, reasons):
        request: Any = getattr(pb, f"{method}Request")(name=name)
        assert (await refusal(getattr(edge.datasets, method)(request))).reason == reasons[name]
