"""What happens around every call: the token is checked, errors become statuses, endless streams can be ended.

A handler raises TuneyardError or anything else; the caller sees `google.rpc.Status` and never a traceback.
"""

import asyncio
import hmac
import inspect
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import structlog

from tuneyard.rpc.attempts import Attempts
from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError, to_status

_log = structlog.get_logger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Details: TypeAlias = grpc.HandlerCallDetails
_Served: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Handler: TypeAlias = "_Served | None"
Continuation: TypeAlias = "Callable[[Details], Awaitable[Handler]]"
Guard: TypeAlias = Callable[[Context], AbstractAsyncContextManager[None]]
Translate: TypeAlias = Callable[[Exception], TuneyardError | None]
"""Turns an error of a lower layer into one for the caller, or gives None."""

# The transport refuses a message beyond its limit without details: refuse earlier, in our words.
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
MAX_TRANSPORT_MESSAGE_BYTES: Final = 2 * MAX_MESSAGE_BYTES
_DRAIN_SECONDS: Final = 0.5


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns errors into statuses, and logs each call that failed. It stands outermost."""

    def __init__(
        self, *, translate: Translate = lambda error: None, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        self._translate = translate
        self._max_message_bytes = max_message_bytes

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return handler
        method = details.method

        @asynccontextmanager
        async def guard(context: Context) -> AsyncIterator[None]:
            with structlog.contextvars.bound_contextvars(method=method):
                try:
                    yield
                except grpc.aio.AbortError:
                    raise
                except Exception as error:
                    await self._abort(context, error)

        return _guarded(handler, guard, max_message_bytes=self._max_message_bytes)

    async def _abort(self, context: Context, error: Exception) -> NoReturn:
        known = error if isinstance(error, TuneyardError) else self._translate(error)
        if known is None:
            log_id = secrets.token_hex(6)
            await _log.aerror("call failed", log_id=log_id, exc_info=error)
            known = TuneyardError("INTERNAL", f"a fault of the server; its log has it under {log_id}")
        else:
            await _log.ainfo("call refused", reason=known.reason, message=known.message)
        await abort(context, known)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Demands `authorization: Bearer <token>` on every call, streams included, and lets nobody guess it."""

    def __init__(self, token: str, *, attempts: Attempts | None = None) -> None:
        self._expected = f"Bearer {token}".encode()
        self._attempts = attempts or Attempts()

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return handler
        given = _authorization(details)
        is_right = given is not None and hmac.compare_digest(given, self._expected)

        @asynccontextmanager
        async def guard(context: Context) -> AsyncIterator[None]:
            if given is None:
                raise TuneyardError("UNAUTHENTICATED", "this server needs a bearer token")
            self._attempts.admit(context.peer(), given, is_right=is_right)
            yield

        return _guarded(handler, guard)


def _authorization(details: Details) -> bytes | None:
    """What a call says of its caller's right; None where it says nothing, or several things."""
    metadata = details.invocation_metadata or ()
    given = [value for key, value in metadata if key.lower() == "authorization"]
    if len(given) != 1:
        return None
    return given[0].encode() if isinstance(given[0], str) else given[0]


class StreamInterceptor(grpc.aio.ServerInterceptor):
    """Knows the calls of methods named Watch…, which end only with their caller, and can end them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler:
        handler = await continuation(details)
        if handler is None or not details.method.rpartition("/")[2].startswith("Watch"):
            return handler
        rebuild, behavior = _parts(handler)
        if not inspect.isasyncgenfunction(behavior):
            return _guarded(handler, self._registered)
        return rebuild(self._endable(behavior), handler.request_deserializer, handler.response_serializer)

    def _endable(self, behavior: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., Any]:
        """The behavior, which can be cancelled while it waits for its next response. Cancelled while gRPC
        sends one, a call would hear of it nowhere and stay open.
        """

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with aclosing(behavior(request, context)) as responses:
                waiting = _Waiting(self._tasks, self._closing, context)
                while True:
                    with waiting:
                        response = await anext(responses, None)
                    if response is None:
                        return
                    yield response

        return stream

    def end_streams(self) -> None:
        """End every endless call with SHUTTING_DOWN, once it is not sending; later ones end at once."""
        self._closing.set()
        for task in self._tasks:
            task.cancel()

    @asynccontextmanager
    async def _registered(self, context: Context) -> AsyncIterator[None]:
        with _Waiting(self._tasks, self._closing, context):
            yield


class _Waiting:
    """While entered, a call can be ended with SHUTTING_DOWN. Entered for each response, so it is plain."""

    def __init__(self, tasks: "set[asyncio.Task[Any]]", closing: asyncio.Event, context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._tasks, self._closing, self._context = task, tasks, closing, context

    def __enter__(self) -> None:
        if self._closing.is_set():
            raise _stopping()
        self._tasks.add(self._task)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._tasks.discard(self._task)
        if kind is asyncio.CancelledError and self._closing.is_set() and not self._context.cancelled():
            self._task.uncancel()
            raise _stopping() from None


def _stopping() -> TuneyardError:
    return TuneyardError("SHUTTING_DOWN", "the server is stopping; watch again in a moment")


async def abort(context: Context, error: TuneyardError) -> NoReturn:
    """End a call with an error's status and details."""
    status = to_status(error)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(error.code, status.message, details)


@dataclass(frozen=True)
class _Refused:
    """Stands in for a request that could not be read."""

    error: TuneyardError


def _guarded(handler: _Served, guard: Guard, *, max_message_bytes: int = 0) -> Handler:
    """The handler with a guard around it; the outermost one, which is told how large a request may be, also
    refuses those that cannot be read.
    """
    rebuild, behavior = _parts(handler)
    is_outermost = max_message_bytes > 0
    parse = handler.request_deserializer
    opened: Callable[[Any], Any] = _as_is
    if is_outermost and parse is not None:
        parse = _refusing(parse, max_message_bytes)
        opened = _opened_each if handler.request_streaming else _opened

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        async with guard(context), aclosing(behavior(opened(request), context)) as responses:
            async for response in responses:
                yield response

    async def single(request: Any, context: Context) -> Any:
        async with guard(context):
            try:
                return await behavior(opened(request), context)
            except TuneyardError:
                if is_outermost and handler.request_streaming:
                    await _drain(request)
                raise

    guarded = stream if inspect.isasyncgenfunction(behavior) else single
    return rebuild(guarded, parse, handler.response_serializer)


def _parts(handler: _Served) -> tuple[Callable[..., Handler], Callable[..., Any]]:
    """What builds a handler of this shape, and the function that it calls."""
    shapes: tuple[tuple[Callable[..., Handler], Callable[..., Any] | None], ...] = (
        (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    )
    return next((rebuild, behavior) for rebuild, behavior in shapes if behavior is not None)


def _refusing(parse: Callable[[bytes], Any], max_message_bytes: int) -> Callable[[bytes], Any]:
    def parse_or_refuse(data: bytes) -> Any:
        if len(data) > max_message_bytes:
            text = f"the message has {len(data)} bytes; at most {max_message_bytes} are accepted"
            return _Refused(TuneyardError("MESSAGE_TOO_LARGE", text))
        try:
            return parse(data)
        except Exception:
            return _Refused(TuneyardError("INVALID_FIELD", "the request is no message of its type"))

    return parse_or_refuse


async def _drain(requests: AsyncIterator[Any]) -> None:
    """Read what the caller still sends, for a moment: some clients lose the status that ends a call early."""
    with suppress(TimeoutError, grpc.RpcError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in requests:
                pass


def _as_is(request: Any) -> Any:
    return request


def _opened(request: Any) -> Any:
    if isinstance(request, _Refused):
        raise request.error
    return request


async def _opened_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _opened(request)
