import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuneyard.client import ConnectionSettings, errors
from tuneyard.client.datasets import AsyncDatasets
from tuneyard.client.uploading import upload
from tuneyard.v1.dataset_pb2 import DATASET_STATE_UPLOADING, Dataset


class Refusing:
    """A connection whose server refuses after the first chunk; it keeps the requests, as gRPC does."""

    settings = ConnectionSettings(server="127.0.0.1:1")
    datasets = SimpleNamespace(UploadDataset=None)

    async def send(self, method: Any, requests: AsyncIterator[Any]) -> Any:
        self.requests = requests
        assert [(await anext(requests)).WhichOneof("part") for _ in range(2)] == ["header", "chunk"]
        raise errors.StorageFull("the disk is full", reason="STORAGE_FULL")


async def test_a_refused_upload_leaves_no_file_open(tmp_path: Path) -> None:
    file, connection = tmp_path / "flowers.zip", Refusing()
    file.write_bytes(b"zip")
    with pytest.raises(errors.StorageFull):
        await upload(
            AsyncDatasets(connection),  # type: ignore[arg-type]
            Dataset(name="datasets/1", state=DATASET_STATE_UPLOADING),
            file,
            uploading=DATASET_STATE_UPLOADING,
            settings=connection.settings,
        )
    open_files = [os.readlink(f"/proc/self/fd/{number}") for number in _descriptors()]
    assert str(file) not in open_files


def _descriptors() -> list[str]:
    return [number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]
