import subprocess
import sys

import tuneyard.storage
from tuneyard.storage import StorageError, errors

EXPORTS = [
    "MAX_PARTS",
    "MAX_PART_SIZE_BYTES",
    "MIN_PART_SIZE_BYTES",
    "ChecksumMismatch",
    "FolderStore",
    "InvalidKey",
    "InvalidPart",
    "ObjectData",
    "ObjectExists",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectReader",
    "ObjectStore",
    "SignatureExpired",
    "SignatureInvalid",
    "SignedRequest",
    "StorageError",
    "StoreFull",
    "StoreSettings",
    "StoreUnavailable",
    "UploadNotFound",
    "UploadPart",
    "open_store",
]


def test_the_public_names_are_these() -> None:
    assert sorted(tuneyard.storage.__all__) == sorted(EXPORTS)
    assert all(hasattr(tuneyard.storage, name) for name in EXPORTS)


def test_every_error_has_a_reason_of_its_own_and_is_public() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, StorageError)
    ]
    assert len({error.reason for error in found}) == len(found)
    assert {error.__name__ for error in found} <= set(EXPORTS)


def test_a_folder_store_needs_neither_the_sdk_nor_a_web_framework() -> None:
    program = "import sys, tuneyard.storage; print(*{'minio', 'starlette', 'urllib3'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""
