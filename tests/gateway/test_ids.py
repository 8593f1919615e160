"""Ids that sort by time."""

import uuid

from tuneyard.gateway.ids import new_id


def test_ids_are_uuids_of_version_seven() -> None:
    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_later_ids_sort_later() -> None:
    first = [new_id() for _ in range(1000)]
    assert len(set(first)) == 1000
    assert first[0] < first[-1]
