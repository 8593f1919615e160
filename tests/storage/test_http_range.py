import pytest

from tuneyard.storage.http_range import RangeNotSatisfiable, requested_range


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 10)),
        ("bytes=90-500", (90, 10)),
        ("bytes=-5", (95, 5)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-5", None),
        ("bytes=0-1,5-6", None),
        ("bytes=٣-٤", None),
        ("", None),
    ],
)
def test_one_range_is_understood(asked: str, expected: tuple[int, int] | None) -> None:
    assert requested_range({"range": asked}, etag="e", size_bytes=100) == expected


@pytest.mark.parametrize(
    ("asked", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_a_range_without_a_byte_is_not_satisfiable(asked: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range({"range": asked}, etag="e", size_bytes=size)


def test_a_range_of_another_version_is_the_whole() -> None:
    headers = {"range": "bytes=5-", "if-range": '"old"'}
    assert requested_range(headers, etag='"new"', size_bytes=10) is None
    assert requested_range(headers, etag='"old"', size_bytes=10) == (5, 5)
