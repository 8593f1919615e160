"""Moments as the database keeps them: microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """The integer for an aware datetime, exact."""
    return (moment - EPOCH) // MICROSECOND


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
