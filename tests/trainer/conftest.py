"""Fixtures of the trainer's tests."""

from pathlib import Path

import pytest

from tests.support.worker_folder import MakeFolder, WorkerFolder


@pytest.fixture
def worker_folder(tmp_path: Path) -> MakeFolder:
    """Makes the folder of a first attempt; arguments beside the base model are fields of its request."""

    def make(base_model: str = "fake:", **request: object) -> WorkerFolder:
        return WorkerFolder(tmp_path, base_model=base_model, request=dict(request))

    return make
