"""Writes a report as one HTML file that needs nothing else: no script, no request, pictures inside."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from pathlib import Path
from typing import TypeAlias

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5c6675; --page: #f6f7f9; --card: #fff;
  --line: #dfe3e8; --mark: #cdeed6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --dim: #9aa4b2; --page: #14181e; --card: #1d232b; --line: #323a45;
    --mark: #1d4a2c; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2, summary { font-size: 1.1rem; font-weight: 600; margin: 0 0 .7rem; }
summary { cursor: pointer; margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.1rem 1.3rem; margin: 0 0 1.1rem; overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; min-width: 50%; font-variant-numeric: tabular-nums; }
details table { margin-top: .7rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; }
td.number, th.number { text-align: right; }
p { margin: .6rem 0 0; color: var(--dim); }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.6 ui-monospace, "DejaVu Sans Mono", monospace; }
mark { background: var(--mark); color: inherit; border-radius: .2rem; }
i { color: var(--dim); font-style: normal; }
kbd { font: inherit; border: 1px solid var(--line); border-radius: .3rem; padding: 0 .2rem;
  color: var(--dim); }
mark kbd { border-color: currentColor; color: inherit; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { body { background: none; padding: 0; } section { break-inside: avoid; } }
"""
# Whatever a name in the data holds, the page loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Cell: TypeAlias = str | float


@dataclass(frozen=True)
class Facts:
    """Names and values; those without a value are left out."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table; numbers are aligned right, whole ones are counts. `folded` shows it only when asked for."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG file."""

    title: str
    path: Path
    note: str = ""


class Looks(Enum):
    """How a part of a text is shown."""

    DIM = ("<i>", "</i>")
    MARKED = ("<mark>", "</mark>")
    TOKEN = ("<kbd>", "</kbd>")
    MARKED_TOKEN = ("<mark><kbd>", "</kbd></mark>")


@dataclass(frozen=True)
class MarkedText:
    """A text whose parts look different; white space is kept."""

    title: str
    runs: Sequence[tuple[str, Looks]]
    note: str = ""


Section: TypeAlias = Facts | Table | Picture | MarkedText


def write_page(path: Path, *, title: str, sections: Iterable[Section]) -> Path:
    """Writes the page and returns its path."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>",
        *(_section(section) for section in sections),
        "</main></body></html>",
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _section(section: Section) -> str:
    match section:
        case Facts():
            rows = "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
                for name, value in section.values.items()
                if value
            )
            return f"<section><dl>{rows}</dl></section>"
        case Picture():
            encoded = base64.b64encode(section.path.read_bytes()).decode("ascii")
            image = f'<img alt="{escape(section.title)}" src="data:image/png;base64,{encoded}">'
            return f"<section><h2>{escape(section.title)}</h2>{image}{_note(section.note)}</section>"
        case MarkedText():
            parts = "".join(f"{looks.value[0]}{escape(text)}{looks.value[1]}" for text, looks in section.runs)
            return (
                f"<section><h2>{escape(section.title)}</h2><pre>{parts}</pre>{_note(section.note)}</section>"
            )
        case Table():
            return _table(section)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    numeric = [isinstance(value, int | float) for value in table.rows[0]]
    head = "".join(_cell("th", name, right) for name, right in zip(table.columns, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(_cell("td", _text(value), right) for value, right in zip(row, numeric, strict=True))
        + "</tr>"
        for row in table.rows
    )
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{_note(table.note)}"
    if table.folded:
        count = f" ({len(table.rows)})"
        return (
            f"<section><details><summary>{escape(table.title)}{count}</summary>{content}</details></section>"
        )
    return f"<section><h2>{escape(table.title)}</h2>{content}</section>"


def _cell(tag: str, text: str, right: bool) -> str:
    return f"<{tag}{' class=number' if right else ''}>{escape(text)}</{tag}>"


def _text(value: Cell) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _note(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""
