"""What the caller of an RPC is told when the object store fails. Nothing else knows both kinds of error."""

from datetime import timedelta

from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ChecksumMismatch, StorageError, StoreFull, StoreUnavailable


def translate(error: Exception) -> TuneyardError | None:
    """The error for callers, or None where the failure is a fault of ours."""
    match error:
        case StoreFull():
            return TuneyardError("STORAGE_FULL", "the store has no room left: free some, or delete datasets")
        case StoreUnavailable():
            return TuneyardError(
                "STORE_UNAVAILABLE", "the object store does not answer", retry_after=timedelta(seconds=1)
            )
        case ChecksumMismatch():
            return TuneyardError("CHECKSUM_MISMATCH", "the bytes do not have the announced SHA-256")
        case StorageError() | _:
            return None
