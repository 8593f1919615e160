"""Files cut into records: lines and the elements of arrays, at their lines and offsets."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets import Code
from tuneyard.datasets.jsonl_lines import FileUnusable, Record, records

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    yield from (data[start : start + size] for start in range(0, len(data), size))


@given(st.lists(st.binary(max_size=20).filter(lambda line: not {0, 10} & set(line))), st.integers(1, 30))
def test_lines_are_those_of_the_file_whatever_the_chunks(lines: list[bytes], size: int) -> None:
    data = b"x\n" + b"\n".join(lines)
    found = list(records(chunks(data, size)))
    kept = [(number, line) for number, line in enumerate([b"x", *lines], 1) if line.strip(b" \t\r\n\f\v")]
    assert [(record.line, record.data) for record in found if record.data.strip()] == kept
    assert all(data[record.offset :].startswith(record.data) for record in found)


@given(
    st.lists(st.dictionaries(st.text(), JSON, max_size=3)), st.sampled_from([None, 0, 2]), st.integers(1, 50)
)
def test_elements_are_those_of_the_array_whatever_the_chunks(
    values: list[dict[str, object]], indent: int | None, size: int
) -> None:
    data = b"\n " + json.dumps(values, indent=indent, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    if size < 4:
        # Whether a file is an array shows in its first chunk, which is much longer in life.
        size += 4
    found = list(records(chunks(data, size)))
    assert [json.loads(record.data) for record in found] == json.loads(data)
    for record in found:
        assert data[record.offset :].startswith(record.data)
        assert record.line == 1 + data[: record.offset].count(b"\n")


def test_a_byte_order_mark_is_no_part_of_the_first_record() -> None:
    assert next(iter(records([b'\xef\xbb\xbf{"a": 1}\n']))) == Record(1, 3, b'{"a": 1}')
    assert next(iter(records([b'\xef\xbb\xbf[{"a": 1}]']))) == Record(1, 4, b'{"a": 1}')


def test_an_endless_line_is_not_held_in_memory() -> None:
    stream = (b"x" * 1000 for _ in range(1000))
    found = records([b"a\n", *stream, b"\nb"], max_bytes=5000)
    lengths = [(record.line, record.offset, len(record.data) <= 7000) for record in found]
    assert lengths == [(1, 0, True), (2, 2, True), (3, 1_000_003, True)]


def test_records_of_one_line_are_numbered() -> None:
    found = records([b'[{"a": 1}, {"b": 2},\n{"c": 3}]'])
    assert [(record.place, record.nth) for record in found] == [("1", 1), ("1#2", 2), ("2", 1)]


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        (b'[{"a": 1},\n{"b": 2', 2, "does not end"),
        (b'[{"a": "1}]\n', 1, "does not end"),
        (b"[\n\n{},\n,{}]", 4, "comma"),
        (b"[{}]\n\nmore", 3, "follows"),
        (b'[{"a": 1}' + b" " * 90 + b"\n" + b'"' * 1, 1, "does not end"),
    ],
)
def test_a_broken_array_says_where(data: bytes, line: int, told: str) -> None:
    with pytest.raises(FileUnusable, match=told) as error:
        list(records([data]))
    assert (error.value.code, error.value.line) == (Code.JSON_ARRAY_BROKEN, line)


def test_an_array_without_end_is_not_held_in_memory() -> None:
    with pytest.raises(FileUnusable, match="longer than 5000 bytes"):
        list(records([b'[{"a": "', *[b"x" * 1000] * 1000], max_bytes=5000))


@given(st.binary(max_size=200), st.integers(1, 40))
def test_no_bytes_crash_it(data: bytes, size: int) -> None:
    for prefix in (b"", b"[{", b'[{"a": "'):
        try:
            found = list(records(chunks(prefix + data, size)))
        except FileUnusable:
            continue
        assert all(record.data for record in found)


@pytest.mark.parametrize(
    "data", [b"{" + b"\n" * (1 << 20), b" " * (1 << 20) + b"[", b'[{"a": "' + b"\\n" * (1 << 20)]
)
def test_no_file_takes_more_than_time_in_proportion(data: bytes) -> None:
    started = time.process_time()
    with suppress(FileUnusable):
        list(records(chunks(data, 1 << 18)))
    assert time.process_time() - started < 3
