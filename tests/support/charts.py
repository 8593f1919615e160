"""Fixtures by which charts are drawn only where a test looks at them: for conftest.py where tests train."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def charts() -> None:
    """Charts are drawn in tests that ask for this."""


@pytest.fixture(autouse=True)
def white_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing charts takes longer than training a tiny model: elsewhere they are white pictures."""

    def white(_: object, path: Path, **__: object) -> None:
        Image.new("RGB", (8, 8), "white").save(path, "PNG")

    if "charts" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", white)
