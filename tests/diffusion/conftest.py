"""Tiny pipelines of random weights, made once for all tests."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.tiny_diffusion import Family, tiny_pipeline

TinyPipelines = Callable[[Family], Path]


@pytest.fixture(scope="session")
def tiny_pipelines(tmp_path_factory: pytest.TempPathFactory) -> TinyPipelines:
    """Folders by family, read-only: `tiny_pipelines("sdxl")`."""
    root = tmp_path_factory.mktemp("pipelines")

    @cache
    def made(family: Family) -> Path:
        return tiny_pipeline(root / family, family)

    return made
