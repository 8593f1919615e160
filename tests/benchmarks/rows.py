"""What a benchmark reports: one row per figure, with its target, as a table for people or as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """What must be reached: "ours" is the figure itself, "ratio" its relation to peer or limit."""

    of: Literal["ours", "ratio"]
    comparison: Literal["<=", ">="]
    value: float

    def met_by(self, measured: float) -> bool:
        """Whether a measured value reaches the target."""
        return measured <= self.value if self.comparison == "<=" else measured >= self.value

    def __str__(self) -> str:
        return f"{self.of} {self.comparison} {self.value:g}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    """The same of the program that is compared with, measured in the same run."""
    limit: float | None = None
    """The same of what cannot be beaten, such as a bare step or a plain copy."""
    ratio: float | None = None
    target: Target | None = None
    """None: printed beside the others, without a judgement."""
    guard: str = ""
    """What was checked to be equal, or to hold, while this was measured."""
    guard_held: bool = True

    @property
    def ok(self) -> bool:
        """Whether target and guard are met."""
        if self.target is None:
            return self.guard_held
        measured = self.ours if self.target.of == "ours" else self.ratio
        return self.guard_held and measured is not None and self.target.met_by(measured)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "name": self.name,
            "ours": _rounded(self.ours),
            "peer": _rounded(self.peer),
            "limit": _rounded(self.limit),
            "unit": self.unit,
            "ratio": _rounded(self.ratio),
            "target": str(self.target) if self.target else None,
            "ok": self.ok,
            "guard": self.guard,
        }


def failed(name: str, why: str) -> Row:
    """The row of a benchmark that came to no figure."""
    return Row(name=name, unit="", ours=math.nan, guard=f"FAILED: {why}", guard_held=False)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows as a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.to_dict() for row in rows], indent=2, ensure_ascii=False) + "\n")


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Prints the rows for people."""
    table = Table(title="Medians; ratio is ours to the peer, or to the limit where there is no peer")
    table.add_column("figure")
    for heading in ("ours", "peer", "limit", "unit", "ratio", "target"):
        table.add_column(heading, justify="left" if heading in ("unit", "target") else "right", no_wrap=True)
    table.add_column("ok")
    table.add_column("guard", overflow="fold")
    for row in rows:
        judged = row.target is not None or not row.guard_held
        verdict = ("[green]yes" if row.ok else "[bold red]NO") if judged else ""
        table.add_row(
            row.name,
            *(_shown(value) for value in (row.ours, row.peer, row.limit)),
            row.unit,
            _shown(row.ratio),
            str(row.target or ""),
            verdict,
            row.guard,
        )
    console.print(table)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired_ratio(ours: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios of values that were measured one after the other.

    Machines speed up and slow down within minutes: a pair is compared under the same conditions.
    """
    return median(a / b for a, b in zip(ours, other, strict=True))


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def _shown(value: float | None) -> str:
    return (
        ""
        if value is None or not math.isfinite(value)
        else f"{value:,.4g}"
        if value < 1e4
        else f"{value:,.0f}"
    )
