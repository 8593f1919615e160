"""A limit for bodies that are held in memory. Forms are not looked at: their files go through the disk."""

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 4 << 20
"""Far above any settings or prompt."""
_FORM: Final = "multipart/form-data"


class BodyLimit:
    """Ends a request with 413 once more of its body has arrived than it may have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or Headers(scope=scope).get("content-type", "").startswith(_FORM):
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, f"the request's body has more than {MAX_BODY_BYTES >> 20} MiB")
            return message

        await self._app(scope, counted, send)
