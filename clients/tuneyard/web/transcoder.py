"""Serves every annotated RPC under /v1 as REST: proto3 JSON, and server streams as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tuneyard.client import errors
from tuneyard.client.raw import RawCalls
from tuneyard.v1 import training_service_pb2
from tuneyard.web import problems
from tuneyard.web.event_json import event_frames
from tuneyard.web.http_rules import BadRequest, Rule, rules

MAX_BODY_BYTES: Final = 48 * 1024 * 1024
"""Of a JSON request: images to be tried come in it as base64."""
EVENT_STREAM: Final = "text/event-stream"
BINARY: Final = "application/x-protobuf"
"""What a client names in `Accept` to get a message as it is: long columns of numbers parse far sooner."""
_LARGE_BYTES: Final = 256 * 1024
"""A message from which on others do not wait while its JSON is written."""
STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_WATCH_JOB: Final = "tuneyard.v1.TrainingService.WatchJob"


class Transcoder:
    """Answers HTTP requests with the gateway's methods."""

    def __init__(self, calls: RawCalls, routes: Sequence[Rule] | None = None) -> None:
        self._calls = calls
        self._rules = rules() if routes is None else routes

    async def handle(self, request: Request) -> Response:
        """The answer to a request below /v1."""
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").partition("?")[0]
        found = [(rule, variables) for rule in self._rules if (variables := rule.match(path)) is not None]
        if not found:
            return problems.answer(problems.plain(404, f"There is nothing at {request.url.path}."))
        for rule, variables in found:
            if rule.verb == request.method:
                return await self._answer(rule, variables, request)
        allowed = ", ".join(sorted({rule.verb for rule, _ in found}))
        told = problems.plain(405, f"{request.url.path} answers {allowed}, not {request.method}.")
        return problems.answer(told, headers={"Allow": allowed})

    async def _answer(self, rule: Rule, variables: Any, request: Request) -> Response:
        try:
            body = await _json_body(request) if rule.body else None
            message = rule.bind(variables, request.query_params.multi_items(), body)
            _resume(message, request)
        except BadRequest as error:
            return problems.answer(problems.of_bad_request(error))
        except TooLarge as error:
            return problems.answer(problems.plain(413, str(error), reason="MESSAGE_TOO_LARGE"))
        try:
            if not rule.method.server_streaming:
                return await _told(await self._calls.unary(rule.method, message), request)
            return await self._stream(rule, message)
        except errors.TuneyardError as error:
            return problems.answer_error(error)

    async def _stream(self, rule: Rule, message: Message) -> Response:
        responses = self._calls.stream(rule.method, message)
        # The first answer decides between an error of HTTP and a stream.
        try:
            first = await anext(responses, None)
        except BaseException:
            await responses.aclose()
            raise
        return StreamingResponse(
            _frames(first, responses), media_type=EVENT_STREAM, headers=dict(STREAM_HEADERS)
        )


async def _told(message: Message, request: Request) -> Response:
    """An answer as JSON, or as it is where the client accepts that."""
    headers = {"Vary": "Accept"}
    if BINARY in request.headers.get("accept", ""):
        return Response(message.SerializeToString(), media_type=BINARY, headers=headers)
    if message.ByteSize() < _LARGE_BYTES:
        text = MessageToJson(message, indent=None)
    else:
        text = await asyncio.to_thread(MessageToJson, message, indent=None)
    return Response(text, media_type="application/json", headers=headers)


class TooLarge(Exception):
    """A body beyond the limit."""


async def _json_body(request: Request) -> dict[str, Any]:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise TooLarge(f"the request's body has more than {MAX_BODY_BYTES >> 20} MiB")
    if not received:
        return {}
    try:
        body = json.loads(received, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _resume(message: Message, request: Request) -> None:
    """A browser that reconnects names the last event that it got."""
    last = request.headers.get("last-event-id", "")
    if not last or not isinstance(message, training_service_pb2.WatchJobRequest):
        return
    if not last.isdecimal() or len(last) > 18:
        raise BadRequest("Last-Event-ID must be the sequence of an event", field="after_sequence")
    message.after_sequence = max(message.after_sequence, int(last))


async def _frames(first: Message | None, responses: Any) -> AsyncIterator[bytes]:
    async with aclosing(responses):
        try:
            if first is not None:
                yield event_frames(first)
                async for response in responses:
                    yield event_frames(response)
        except errors.TuneyardError as error:
            yield b"event: error\ndata: " + json.dumps(problems.of_error(error)).encode() + b"\n\n"
            return
    # So that a browser knows to ask no more: it would reconnect to a stream that merely closed.
    yield b"event: end\ndata: {}\n\n"
