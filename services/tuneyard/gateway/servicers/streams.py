"""Client streams whose first message is a header and whose others are chunks."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from tuneyard.rpc.errors import invalid
from tuneyard.rpc.validation import check


async def take_header(requests: AsyncIterator[Any]) -> Any:
    """The first message's header, within its rules; INVALID_FIELD where there is none."""
    return (await take_first(requests, ("header",))).header


async def take_first(requests: AsyncIterator[Any], parts: Sequence[str]) -> Any:
    """The first message, within its rules; INVALID_FIELD where it carries none of the parts."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") not in parts:
        raise invalid("header", f"the first message of the stream must carry the {' or the '.join(parts)}")
    check(first)
    return first


async def chunks(requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """What follows the first message; INVALID_FIELD for what is no chunk."""
    async for request in requests:
        if request.WhichOneof("part") not in ("chunk", None):
            raise invalid("header", "only the first message of the stream carries a header")
        yield request.chunk
