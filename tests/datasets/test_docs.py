"""Every kind of finding is explained to users."""

from pathlib import Path

import pytest

from tuneyard.datasets import Code

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("image-datasets.md", "yolo-datasets.md", "jsonl-datasets.md", "captioned-images.md")


@pytest.fixture(scope="module")
def documented() -> str:
    return "".join((DOCS / name).read_text() for name in PAGES)


@pytest.mark.parametrize("code", Code)
def test_every_code_stands_in_the_pages_about_datasets(code: Code, documented: str) -> None:
    assert f"`{code}`" in documented
