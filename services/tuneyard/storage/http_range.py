"""The Range header of HTTP (RFC 9110, 14.2), for one range of bytes. Several at once are answered in full."""

import re
from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)", re.ASCII)


class RangeNotSatisfiable(Exception):
    """The range begins beyond the object's end."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"no byte of {size_bytes} lies in the range")
        self.size_bytes = size_bytes


def requested_range(headers: Mapping[str, str], *, etag: str, size_bytes: int) -> tuple[int, int] | None:
    """Offset and length that the headers ask for, or None for the whole object.

    What is not understood is ignored, as the RFC wants. A range under an If-Range that names another
    object is ignored too, so that a resumed download never mixes two objects.
    """
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last = found["first"], found["last"]
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(size_bytes)
    return start, end - start
