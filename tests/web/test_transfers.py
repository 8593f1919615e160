from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_service_pb2,
    event_pb2,
    model_service_pb2,
    training_pb2,
)
from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig

CONTENT = b"0123456789"


async def test_a_models_bytes_go_on_from_where_they_are(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    told: list[model_service_pb2.UploadModelRequest] = []

    def take(requests, context):
        told.extend(requests)
        state = model_service_pb2.MODEL_STATE_UPLOADING
        made = model_service_pb2.Model(name="models/tiny", state=state)
        made.upload.received_bytes = 9
        return model_service_pb2.UploadModelResponse(model=made)

    gateway.on("UploadModel", take)
    headers = {"Content-Range": "bytes 4-9/10"}
    answer = await http.put("/v1/models/tiny:upload", content=CONTENT[4:], headers=headers)
    assert answer.json()["model"]["upload"] == {"receivedBytes": "9"}
    place, *rest = told
    assert place.place == model_service_pb2.ModelUploadPlace(name="models/tiny", offset=4)
    assert b"".join(each.chunk for each in rest) == CONTENT[4:]


@pytest.fixture
def stored(gateway: FakeGateway) -> FakeGateway:
    artifact = event_pb2.Artifact(
        name="jobs/a/artifacts/samples/x.txt",
        path="samples/x.txt",
        size_bytes=len(CONTENT),
        sha256="ab" * 32,
        media_type="text/plain",
    )
    gateway.answer("ListArtifacts", artifact_service_pb2.ListArtifactsResponse(artifacts=[artifact]))

    def download(request, context):
        for start in range(request.offset, len(CONTENT), 3):
            yield artifact_service_pb2.DownloadArtifactResponse(chunk=CONTENT[start : start + 3])

    gateway.on("DownloadArtifact", download)
    return gateway


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        (None, 200, b"0123456789"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=8-99", 206, b"89"),
        ("lines=1", 200, b"0123456789"),
    ],
)
async def test_an_artifact_comes_whole_or_in_part(
    http: httpx.AsyncClient, stored: FakeGateway, asked: str | None, status: int, body: bytes
) -> None:
    headers = {"Range": asked} if asked else {}
    answer = await http.get("/v1/jobs/a/artifacts/samples/x.txt:download", headers=headers)
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize(("etag", "status"), [("ab" * 32, 206), ("cd" * 32, 200)])
async def test_a_download_goes_on_only_with_the_same_bytes(
    http: httpx.AsyncClient, stored: FakeGateway, etag: str, status: int
) -> None:
    headers = {"Range": "bytes=4-", "If-Range": f'"{etag}"'}
    answer = await http.get("/v1/jobs/a/artifacts/samples/x.txt:download", headers=headers)
    assert answer.status_code == status
    assert answer.content == (CONTENT[4:] if status == 206 else CONTENT)


async def test_a_range_beyond_the_end_names_the_size(http: httpx.AsyncClient, stored: FakeGateway) -> None:
    path = "/v1/jobs/a/artifacts/samples/x.txt:download"
    answer = await http.get(path, headers={"Range": "bytes=10-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


async def test_an_artifact_that_is_known_is_not_sent_again(
    http: httpx.AsyncClient, stored: FakeGateway
) -> None:
    path = "/v1/jobs/a/artifacts/samples/x.txt:download"
    tag = (await http.get(path)).headers["etag"]
    assert (await http.get(path, headers={"If-None-Match": tag})).status_code == 304


async def test_a_folder_comes_as_a_zip(http: httpx.AsyncClient, stored: FakeGateway) -> None:
    answer = await http.get("/v1/jobs/a/artifacts/samples/:download")
    assert answer.headers["content-type"] == "application/zip"
    assert "samples.zip" in answer.headers["content-disposition"]
    assert stored.requests["DownloadArtifact"][0].name == "jobs/a/artifacts/samples/"


async def test_an_unknown_artifact_is_404(http: httpx.AsyncClient, stored: FakeGateway) -> None:
    answer = await http.get("/v1/jobs/a/artifacts/y:download")
    assert (answer.status_code, answer.json()["reason"]) == (404, "ARTIFACT_NOT_FOUND")


async def test_a_datasets_bytes_go_on_at_their_offset(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    headers = {"Content-Range": "bytes 5-9/10"}
    answer = await http.put("/v1/datasets/d:upload", content=CONTENT[5:], headers=headers)
    assert answer.status_code == 200
    first, *rest = gateway.requests["UploadDataset"]
    assert (first.header.name, first.header.offset) == ("datasets/d", 5)
    assert b"".join(each.chunk for each in rest) == CONTENT[5:]


async def test_an_upload_goes_on_in_few_large_pieces(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    async def body() -> AsyncIterator[bytes]:
        for number in range(40):
            yield bytes([number]) * 65_536

    answer = await http.put("/v1/datasets/d:upload", content=body())
    assert answer.status_code == 200
    _, *rest = gateway.requests["UploadDataset"]
    assert [len(each.chunk) for each in rest] == [524_288] * 5
    assert b"".join(each.chunk for each in rest) == b"".join(bytes([number]) * 65_536 for number in range(40))


async def test_an_upload_that_breaks_off_is_no_fault(gateway: FakeGateway, config: WebConfig) -> None:
    cut = iter(
        (
            {"type": "http.request", "body": CONTENT, "more_body": True},
            {"type": "http.disconnect"},
        )
    )
    told: list[Message] = []

    async def receive() -> Message:
        return next(cut)

    async def send(message: Message) -> None:
        told.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/datasets/d:upload",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }
    await make_app(config)(scope, receive, send)
    assert told[0]["status"] == 499


@pytest.mark.parametrize("text", ["bytes x-9/10", "5-9/10", "bytes -1-9/10"])
async def test_a_content_range_that_is_none_is_400(http: httpx.AsyncClient, text: str) -> None:
    answer = await http.put("/v1/datasets/d:upload", content=b"x", headers={"Content-Range": text})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "media_type", "is_saved"),
    [
        ("train/cat/1.PNG", "image/png", False),
        ("labels/1.txt", "text/plain; charset=utf-8", False),
        ("train/x.svg", "application/octet-stream", True),
        ("train/x.html", "application/octet-stream", True),
    ],
)
async def test_a_datasets_file_is_shown_where_that_is_harmless(
    http: httpx.AsyncClient, gateway: FakeGateway, path: str, media_type: str, is_saved: bool
) -> None:
    def download(request, context):
        assert (request.name, request.path) == ("datasets/d", path)
        yield dataset_service_pb2.DownloadDatasetFileResponse(chunk=CONTENT)

    gateway.on("DownloadDatasetFile", download)
    answer = await http.get(f"/v1/datasets/d/files/{path}:download")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == media_type
    assert ("attachment" in answer.headers.get("content-disposition", "")) is is_saved


async def test_a_file_that_is_not_there_is_a_problem_and_no_picture(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    gateway.fail("DownloadDatasetFile", TuneyardError("INVALID_FIELD", "no such file"))
    answer = await http.get("/v1/datasets/d/files/x.png:download")
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_FIELD")


MODEL = "/v1/models:upload?family=FAMILY_LLM&fileName=tiny.zip&displayName=Tiny"


async def test_a_models_bytes_follow_what_the_address_says_of_them(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    made = model_service_pb2.Model(name="models/tiny", state=model_service_pb2.MODEL_STATE_IMPORTING)
    told: list[model_service_pb2.UploadModelRequest] = []

    def take(requests, context):
        told.extend(requests)
        return model_service_pb2.UploadModelResponse(model=made)

    gateway.on("UploadModel", take)
    answer = await http.put(MODEL, content=CONTENT)
    assert answer.json() == {"model": {"name": "models/tiny", "state": "MODEL_STATE_IMPORTING"}}
    header, *rest = told
    assert header.header == model_service_pb2.ModelUploadHeader(
        family=training_pb2.FAMILY_LLM, file_name="tiny.zip", display_name="Tiny", size_bytes=len(CONTENT)
    )
    assert b"".join(each.chunk for each in rest) == CONTENT


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("family=FAMILY_OF_FOUR&fileName=a.zip", "family"),
        ("weights=1", "weights"),
        ("sizeBytes=x", "size_bytes"),
    ],
)
async def test_what_is_said_wrong_of_a_model_is_refused_at_its_field(
    http: httpx.AsyncClient, gateway: FakeGateway, query: str, field: str
) -> None:
    answer = await http.put(f"/v1/models:upload?{query}", content=CONTENT)
    assert (answer.status_code, answer.json()["violations"][0]["field"]) == (400, field)
    assert gateway.calls["UploadModel"] == 0


async def test_a_model_of_unknown_length_is_not_taken(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield CONTENT

    assert (await http.put(MODEL, content=body())).status_code == 411
    assert (await http.put(f"{MODEL}&sizeBytes=10", content=body())).status_code == 200


async def test_a_model_is_refused_by_the_fields_names_in_the_address(
    http: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    gateway.fail("UploadModel", invalid("header.file_name", "must be a plain file name"))
    answer = await http.put(MODEL, content=CONTENT)
    assert answer.json()["violations"][0]["field"] == "file_name"
