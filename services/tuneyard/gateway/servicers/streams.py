"""Client streams whose first message is a header and whose others are chunks."""

from collections.abc import AsyncIterator
from typing import Any

from tuneyard.rpc.errors import invalid
from tuneyard.rpc.validation import check


async def take_header(requests: AsyncIterator[Any]) -> Any:
    """The first message's header, within its rules; INVALID_FIELD where there is none."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("header", "the first message of the stream must carry the header")
    check(first)
    return first.header


async def chunks(requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """What follows the header; INVALID_FIELD for a second header."""
    async for request in requests:
        if request.HasField("header"):
            raise invalid("header", "only the first message of the stream carries a header")
        yield request.chunk
