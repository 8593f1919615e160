"""Single files of datasets over the wire: lists, bytes and lines, of sound and of broken uploads."""

import gzip
import io
import zipfile

import pytest

from tests.support.edge import Edge, image_folder, refusal
from tuneyard.v1 import dataset_pb2
from tuneyard.v1 import dataset_service_pb2 as pb

JSONL = dataset_pb2.DATASET_FORMAT_JSONL
LINES = "".join(f'{{"instruction": "{n}", "response": "r{n}"}}\n' for n in range(1, 41)).encode()


async def stored(edge: Edge, content: bytes, **fields: object) -> str:
    created = await edge.create_dataset(content, **fields)
    await edge.upload(created.name, content)
    return (await edge.settled(created.name)).name


async def content_of(edge: Edge, name: str, path: str) -> bytes:
    call = edge.datasets.DownloadDatasetFile(pb.DownloadDatasetFileRequest(name=name, path=path))
    return b"".join([response.chunk async for response in call])


async def lines_of(edge: Edge, name: str, **fields: object) -> list[tuple[int, str, bool]]:
    answer = await edge.datasets.ReadDatasetLines(pb.ReadDatasetLinesRequest(name=name, **fields))
    return [(each.line, each.text, each.is_cut) for each in answer.lines]


async def test_files_are_listed_in_pages_below_a_prefix(edge_with_shapes: Edge) -> None:
    edge, name = edge_with_shapes, "datasets/shapes"
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListDatasetFilesRequest(parent=name, prefix="red/", page_size=5, page_token=token)
        page = await edge.datasets.ListDatasetFiles(request)
        assert page.total_size == 12
        found += [file.path for file in page.files]
        if not (token := page.next_page_token):
            break
    assert found == sorted(f"red/{n}.png" for n in range(12))


async def test_a_files_bytes_are_those_in_the_archive(edge_with_shapes: Edge) -> None:
    edge, name = edge_with_shapes, "datasets/shapes"
    with zipfile.ZipFile(io.BytesIO(image_folder())) as archive:
        assert await content_of(edge, name, "green/3.png") == archive.read("green/3.png")


@pytest.mark.parametrize("path", ["red/99.png", "../red/0.png", "/etc/passwd", "red"])
async def test_a_file_that_is_not_in_the_dataset_is_refused(edge_with_shapes: Edge, path: str) -> None:
    edge, name = edge_with_shapes, "datasets/shapes"
    call = edge.datasets.DownloadDatasetFile(pb.DownloadDatasetFileRequest(name=name, path=path))
    assert (await refusal(call)).reason == "INVALID_FIELD"


async def test_a_refused_archive_still_shows_what_can_be_read(edge: Edge) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("cat/broken.png", b"no picture")
    name = await stored(edge, sink.getvalue())
    assert await content_of(edge, name, "cat/broken.png") == b"no picture"


async def test_what_is_no_archive_is_said_to_be_none(edge: Edge) -> None:
    name = await stored(edge, b"not a zip at all")
    error = await refusal(edge.datasets.ListDatasetFiles(pb.ListDatasetFilesRequest(parent=name)))
    assert error.reason == "NOT_SUPPORTED"


async def test_a_dataset_that_is_still_uploaded_has_no_files_yet(edge: Edge) -> None:
    created = await edge.create_dataset(b"1234")
    error = await refusal(edge.datasets.ListDatasetFiles(pb.ListDatasetFilesRequest(parent=created.name)))
    assert error.reason == "DATASET_NOT_READY"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_lines_of_a_single_file_are_read_from_any_line(edge: Edge, pack: object) -> None:
    name = await stored(edge, pack(LINES), format=JSONL)  # type: ignore[operator]
    expected = LINES.decode().splitlines()
    assert await lines_of(edge, name, first_line=39, max_lines=9) == [
        (39, expected[38], False),
        (40, expected[39], False),
    ]
    assert [line for line, _, _ in await lines_of(edge, name)] == list(range(1, 21))
    assert await lines_of(edge, name, first_line=41) == []


async def test_a_long_line_is_cut_and_the_next_one_whole(edge: Edge) -> None:
    long = b'{"instruction": "' + b"x" * 3_000_000 + b'", "response": "y"}\n'
    name = await stored(edge, long + LINES, format=JSONL)
    (number, text, is_cut), second = await lines_of(edge, name, max_lines=2)
    assert (number, len(text), is_cut) == (1, 16 << 10, True)
    assert second == (2, LINES.decode().splitlines()[0], False)
