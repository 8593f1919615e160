"""Streamed messages as server-sent events. A job's events come one by one, each with its sequence as id."""

from collections import OrderedDict
from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from tuneyard.v1 import event_pb2, training_service_pb2

KEEP_ALIVE: Final = b": keep-alive\n\n"
_KEPT_EVENTS: Final = 4096


class _EventFrames:
    """The newest events' frames: of a job that many watch, each is made once."""

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, bytes] = OrderedDict()

    def of(self, event: event_pb2.JobEvent) -> bytes:
        key = event.SerializeToString()
        frame = self._frames.get(key)
        if frame is None:
            kind = event.WhichOneof("body") or "event"
            data = MessageToJson(event, indent=None)
            frame = f"id: {event.sequence}\nevent: {kind}\ndata: {data}\n\n".encode()
            self._frames[key] = frame
            if len(self._frames) > _KEPT_EVENTS:
                self._frames.popitem(last=False)
        return frame


_frames: Final = _EventFrames()


def event_frames(message: Message) -> bytes:
    """A streamed message as one or several events; an empty one keeps the stream alive."""
    if isinstance(message, training_service_pb2.WatchJobResponse):
        return b"".join(map(_frames.of, message.events)) or KEEP_ALIVE
    if not message.ListFields():
        return KEEP_ALIVE
    return b"data: " + MessageToJson(message, indent=None).encode() + b"\n\n"
