"""Calls of any method by its descriptor: for edges that translate whole APIs, such as REST."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tuneyard.client.connection import Connection


@cache
def request_class(method: MethodDescriptor) -> type[Message]:
    """The class of a method's requests."""
    return message_factory.GetMessageClass(method.input_type)


@cache
def response_class(method: MethodDescriptor) -> type[Message]:
    """The class of a method's responses."""
    return message_factory.GetMessageClass(method.output_type)


class RawCalls:
    """Makes calls on a connection; what they end with is raised as everywhere in this package."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._callables: dict[str, Any] = {}

    async def unary(
        self, method: MethodDescriptor, request: Message, *, timeout: timedelta | None = None
    ) -> Message:
        """One request, one response; repeated by nobody but the caller."""
        call = self._callable(method, "unary_unary")
        return await self._connection.unary(call, request, repeat=False, timeout=timeout)

    def stream(self, method: MethodDescriptor, request: Message) -> AsyncGenerator[Message, None]:
        """One request, many responses. Close the generator."""
        return self._connection.stream(self._callable(method, "unary_stream"), request)

    async def send(self, method: MethodDescriptor, requests: AsyncIterator[Message]) -> Message:
        """Many requests, one response."""
        return await self._connection.send(self._callable(method, "stream_unary"), requests)

    def _callable(self, method: MethodDescriptor, shape: str) -> Any:
        found = self._callables.get(method.full_name)
        if found is None:
            found = getattr(self._connection.channel, shape)(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=request_class(method).SerializeToString,
                response_deserializer=response_class(method).FromString,
            )
            self._callables[method.full_name] = found
        return found
