"""Cuts the files of a JSONL dataset into records: lines, or the elements of one JSON array.

A record is bytes with their place, found in flat memory; whether they are JSON, and of which kind, is decided
elsewhere.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tuneyard.datasets.codes import Code

MAX_RECORD_BYTES = 16 << 20
"""A longer line is no example: it is passed over without being held in memory."""

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SNIFFED_BYTES = 4096
_ARRAY_OF_OBJECTS = re.compile(rb"\s*\[\s*(?:\{|\]|\Z)")
_OPENED_OBJECT = re.compile(rb"\s*\{[ \t\r]*\n\s*\"(?:[^\"\\\n]|\\.)*\"\s*:")
# A string, a bracket or a comma; a lone quotation mark begins a string that is not all here yet.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
_SPACE = b" \t\r\n"
_QUOTE, _COMMA = b'",'


class Record(NamedTuple):
    """Bytes that should be one JSON object: the line they begin on, from 1, and their offset in the file."""

    line: int
    offset: int
    data: bytes
    """Without the line's end. Of more than `MAX_RECORD_BYTES` only a beginning that is longer than that."""
    nth: int = 1
    """Which one it is of those that begin on this line: an array may stand on a single line."""

    @property
    def place(self) -> str:
        """What tells it from all others in its file: "17", or "1#3" for the third on line 1."""
        return str(self.line) if self.nth == 1 else f"{self.line}#{self.nth}"


class FileUnusable(Exception):
    """From here on a file cannot be cut into records; `line` is None if that concerns the whole file."""

    def __init__(self, code: Code, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line


def records(chunks: Iterable[bytes], *, max_bytes: int = MAX_RECORD_BYTES) -> Iterator[Record]:
    """The records of one file in their order, blank lines left out.

    A file that begins with `[` and an object is one array, any other has a record on each line. Raises
    `FileUnusable`, for an array perhaps after some records.
    """
    pieces = iter(chunks)
    start = next(pieces, b"")
    _refuse_other_encodings(start)
    skipped = len(_BOM) if start.startswith(_BOM) else 0
    start = start[skipped:]
    if _ARRAY_OF_OBJECTS.match(start):
        return _elements(start, pieces, skipped, max_bytes)
    if _OPENED_OBJECT.match(start):
        raise FileUnusable(Code.FILE_PRETTY_PRINTED, "A JSON object is spread over several lines.", line=1)
    return _lines(start, pieces, skipped, max_bytes)


def _refuse_other_encodings(start: bytes) -> None:
    if start.startswith(_WIDE_BOMS):
        raise FileUnusable(Code.FILE_NOT_UTF8, "The file is UTF-16 or UTF-32, not UTF-8.")
    if b"\0" in start[:_SNIFFED_BYTES]:
        raise FileUnusable(Code.FILE_NOT_UTF8, "The file is not text: it holds zero bytes.")


def _lines(start: bytes, pieces: Iterator[bytes], offset: int, max_bytes: int) -> Iterator[Record]:
    number, rest, dropped = 0, b"", 0
    chunk = start
    while chunk:
        *whole, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        for data in whole:
            number += 1
            if data and not data.isspace():
                yield Record(number, offset, data)
            offset += len(data) + dropped + 1
            dropped = 0
        if len(rest) > max_bytes + 1:
            dropped += len(rest) - max_bytes - 1
            rest = rest[: max_bytes + 1]
        chunk = next(pieces, b"")
    if rest and not rest.isspace():
        yield Record(number + 1, offset, rest)


def _elements(start: bytes, pieces: Iterator[bytes], offset: int, max_bytes: int) -> Iterator[Record]:
    scan = _ArrayScan(start, offset)
    while True:
        yield from scan.elements()
        if scan.ended:
            break
        chunk = next(pieces, b"")
        if not chunk:
            seen = "The array does not end: the file is cut off, or a bracket or a quotation mark is missing."
            raise FileUnusable(Code.JSON_ARRAY_BROKEN, seen, line=scan.line_of_element())
        if scan.held_bytes > max_bytes:
            seen = f"An element is longer than {max_bytes} bytes, or a quotation mark is missing."
            raise FileUnusable(Code.JSON_ARRAY_BROKEN, seen, line=scan.line_of_element())
        scan.add(chunk)
    while True:
        if scan.has_more():
            seen = "Something follows the end of the array."
            raise FileUnusable(Code.JSON_ARRAY_BROKEN, seen, line=scan.line_of_element())
        if not (chunk := next(pieces, b"")):
            return
        scan.add(chunk)


class _ArrayScan:
    """Finds the ends of an array's elements by counting brackets outside of strings."""

    def __init__(self, start: bytes, offset: int) -> None:
        self._buffer = start
        self._offset = offset
        self._begin = self._position = start.index(b"[") + 1
        self._depth = 1
        self._line, self._counted = 1, 0
        self._last_line, self._nth = 0, 1

    @property
    def ended(self) -> bool:
        return self._depth == 0

    @property
    def held_bytes(self) -> int:
        """How long the element is that has not ended yet."""
        return len(self._buffer) - self._begin

    def add(self, chunk: bytes) -> None:
        self._line_at(self._begin)
        self._buffer = self._buffer[self._begin :] + chunk
        self._offset += self._begin
        self._position -= self._begin
        self._begin = self._counted = 0

    def elements(self) -> Iterator[Record]:
        """The elements that end in what is here."""
        for token in _TOKEN.finditer(self._buffer, self._position):
            kind = self._buffer[token.start()]
            if kind == _QUOTE and token.end() == token.start() + 1:
                return
            self._position = token.end()
            if kind in b"[{":
                self._depth += 1
            elif kind in b"]}":
                self._depth -= 1
            if self._depth == 0 or (self._depth == 1 and kind == _COMMA):
                yield from self._element(token.start(), is_last=self._depth == 0)
                self._begin = token.end()
            if self._depth == 0:
                return

    def line_of_element(self) -> int:
        """The line on which the element begins that has not ended."""
        while self._begin < len(self._buffer) and self._buffer[self._begin] in _SPACE:
            self._begin += 1
        self._position = max(self._position, self._begin)
        return self._line_at(self._begin)

    def has_more(self) -> bool:
        """Whether anything but white space is left."""
        return bool(self._buffer[self._begin :].strip(_SPACE))

    def _element(self, end: int, *, is_last: bool) -> Iterator[Record]:
        line = self.line_of_element()
        data = self._buffer[self._begin : end].rstrip(_SPACE)
        if data:
            self._nth = self._nth + 1 if line == self._last_line else 1
            self._last_line = line
            yield Record(line, self._offset + self._begin, data, self._nth)
        elif not is_last:
            raise FileUnusable(Code.JSON_ARRAY_BROKEN, "A comma has no element before it.", line=line)

    def _line_at(self, position: int) -> int:
        self._line += self._buffer.count(b"\n", self._counted, position)
        self._counted = position
        return self._line
