"""The wire form of events."""

import pytest

from tuneyard.gateway.events import chunk
from tuneyard.v1 import event_pb2, training_service_pb2


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_joined_chunks_are_a_watch_response_at_any_length(length: int) -> None:
    event = event_pb2.JobEvent(log=event_pb2.LogEvent(message="x" * length))
    joined = chunk(event.SerializeToString()) * 2
    assert training_service_pb2.WatchJobResponse.FromString(joined).events[:] == [event, event]
