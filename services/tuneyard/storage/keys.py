"""The rules for object keys, the same for every store: S3's, narrowed to what a folder can hold too."""

from tuneyard.storage.errors import InvalidKey

MAX_KEY_BYTES = 1000
# A segment becomes a file name in the folder store and on most S3 servers' disks, where 255 bytes are
# the limit.
MAX_SEGMENT_BYTES = 255


def check_key(key: str) -> str:
    """Return the key, or raise InvalidKey.

    A key is 1 to 1000 bytes of printable UTF-8 in segments divided by "/". A segment is 1 to 255 bytes
    and neither "." nor "..". The first segment does not begin with a dot: those names are the stores'
    own.
    """
    _check_text(key)
    if not key.strip():
        raise InvalidKey("a key is not blank")
    segments = key.split("/")
    _check_first_segment(segments[0])
    for segment in segments:
        _check_segment(segment)
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix, or raise InvalidKey. A prefix is the beginning of a key, cut anywhere, or empty."""
    _check_text(prefix)
    *folders, last = prefix.split("/")
    _check_first_segment(prefix)
    for segment in folders:
        _check_segment(segment)
    if len(last.encode()) > MAX_SEGMENT_BYTES:
        raise InvalidKey(f"a segment of a key has at most {MAX_SEGMENT_BYTES} bytes")
    return prefix


def check_folder(prefix: str) -> str:
    """Return a prefix that names a whole folder, or raise InvalidKey: "jobs/1" would take "jobs/10" along."""
    if not prefix.endswith("/"):
        raise InvalidKey("a prefix to delete ends with '/'")
    return check_prefix(prefix)


def _check_text(text: str) -> None:
    if not text.isprintable():
        raise InvalidKey("a key has printable characters only")
    # isprintable() has refused lone surrogates, so this encodes.
    if len(text.encode()) > MAX_KEY_BYTES:
        raise InvalidKey(f"a key has at most {MAX_KEY_BYTES} bytes")


def _check_first_segment(segment: str) -> None:
    if segment.startswith("."):
        raise InvalidKey("a key does not begin with a dot")


def _check_segment(segment: str) -> None:
    if segment in ("", ".", ".."):
        raise InvalidKey("a segment of a key is neither empty nor '.' nor '..'")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise InvalidKey(f"a segment of a key has at most {MAX_SEGMENT_BYTES} bytes")
