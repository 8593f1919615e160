"""Platforms of real processes for whole modules or for all of them: starting one takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, platform


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A gateway and one trainer with the scripted recipe, on the embedded defaults."""
    root: Path = tmp_path_factory.mktemp("platform")
    with platform(root) as started:
        started.upload_images()
        yield started


@pytest.fixture(scope="session")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A gateway and the vision trainer, for tests that kill neither; no two use one name for a dataset."""
    root: Path = tmp_path_factory.mktemp("vision")
    with platform(root, trainers={"vision": "tuneyard.vision"}) as started:
        yield started
