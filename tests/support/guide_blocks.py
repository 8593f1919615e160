"""The training guide's code blocks and tables, read as Markdown has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENGLISH, CHINESE = DOCS / "training-guide.md", DOCS / "training-guide.zh.md"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    content: str
    line: int
    """Of the file, where the block begins."""


def blocks(guide: Path) -> list[Block]:
    """Every fenced block, in order."""
    return [
        Block(token.info.strip(), token.content, (token.map or [0])[0] + 1)
        for token in MarkdownIt().parse(guide.read_text(encoding="utf-8"))
        if token.type == "fence"
    ]


def tables(guide: Path) -> Iterator[list[list[str]]]:
    """Every table as rows of cells, the head first."""
    rows: list[list[str]] = []
    tokens = MarkdownIt().enable("table").parse(guide.read_text(encoding="utf-8"))
    for token, inner in pairwise(tokens):
        match token.type:
            case "tr_open":
                rows.append([])
            case "th_open" | "td_open":
                rows[-1].append(inner.content)
            case "table_close":
                yield rows
                rows = []
