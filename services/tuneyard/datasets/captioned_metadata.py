"""The metadata of captioned images: metadata.jsonl or metadata.csv, one line for each image.

Says which file each line names and what its caption is; whether there is such an image is judged elsewhere.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tuneyard.datasets.codes import Code
from tuneyard.datasets.jsonl_lines import FileUnusable, records
from tuneyard.datasets.names import extension
from tuneyard.datasets.source import Source

IMAGE_KEYS = ("file_name", "filename", "file", "image")
"""What the column with the image's name may be called, the usual one first."""
TEXT_KEYS = ("text", "caption", "prompt")
MAX_CSV_BYTES = 64 << 20


class Row(NamedTuple):
    """A line: the image that it names, below the dataset's root, and its caption; or what is wrong."""

    line: int
    image: str = ""
    text: str = ""
    problem: str = ""


def rows(source: Source, name: str) -> Iterator[Row]:
    """The lines of a file in their order. Raises `FileUnusable`, perhaps after some of them."""
    folder = name.rpartition("/")[0]
    found = _csv_rows(source, name) if extension(name) == ".csv" else _json_rows(source, name)
    for row in found:
        if row.problem:
            yield row
        else:
            yield row._replace(image=_resolved(folder, row.image))


def _json_rows(source: Source, name: str) -> Iterator[Row]:
    for record in records(source.chunks(name)):
        try:
            value: object = json.loads(record.data)
        except (ValueError, RecursionError):
            yield Row(record.line, problem="is no JSON")
            continue
        if not isinstance(value, dict):
            yield Row(record.line, problem="is no JSON object")
            continue
        image, text = _first(value, IMAGE_KEYS), _first(value, TEXT_KEYS)
        if not isinstance(image, str) or not image:
            yield Row(record.line, problem="names no image as file_name")
        elif text is not None and not isinstance(text, str):
            yield Row(record.line, problem="has a caption that is no text")
        else:
            yield Row(record.line, image, text or "")


def _csv_rows(source: Source, name: str) -> Iterator[Row]:
    if source.size(name) > MAX_CSV_BYTES:
        raise FileUnusable(Code.METADATA_UNREADABLE, f"The file has more than {MAX_CSV_BYTES} bytes.")
    data = source.read(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileUnusable(Code.METADATA_UNREADABLE, "The file is not UTF-8.", line=line) from None
    if "\0" in text:
        raise FileUnusable(Code.METADATA_UNREADABLE, "The file is not text: it holds zero bytes.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [column.strip().casefold() for column in next(reader, [])]
        image_column, text_column = _column(header, IMAGE_KEYS), _column(header, TEXT_KEYS)
        end = reader.line_num
        for values in reader:
            line, end = end + 1, reader.line_num
            if not values:
                continue
            if len(values) != len(header):
                yield Row(line, problem=f"has {len(values)} columns and not {len(header)}")
            elif not values[image_column].strip():
                yield Row(line, problem="names no image as file_name")
            else:
                yield Row(line, values[image_column].strip(), values[text_column])
    except csv.Error as error:
        seen = f"The file cannot be read as CSV: {error}."
        raise FileUnusable(Code.METADATA_UNREADABLE, seen, line=reader.line_num or 1) from None


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _column(header: Sequence[str], keys: Sequence[str]) -> int:
    for key in keys:
        if key in header:
            return header.index(key)
    raise FileUnusable(Code.METADATA_UNREADABLE, f"The header has no column {keys[0]!r}.", line=1)


def _first(value: dict[str, object], keys: Sequence[str]) -> object:
    return next((value[key] for key in keys if key in value), None)


def _resolved(folder: str, name: str) -> str:
    """A name relative to the metadata's folder as one relative to the root; what leads outside stays as it is
    and so names no image.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    return "/".join((folder, *parts) if folder else parts)
