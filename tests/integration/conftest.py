"""One platform of real processes per module: starting one takes seconds."""

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
