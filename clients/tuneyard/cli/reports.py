"""Shows an evaluation's report.json to people: what was measured on which split, beside the base model."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from tuneyard.cli.formats import facts, number, plain, table

_MAX_CLASSES: Final = 30


def print_report(out: Console, report: Mapping[str, Any]) -> None:
    """Prints a report: facts, metrics, and the classes where they are few."""
    split = report["split"]
    out.print(
        facts(
            [
                ("model", plain(f"{report['architecture']}, trained by {report['source_job']}")),
                ("dataset", plain(report["dataset"])),
                ("split", plain(f"{split['name']}: {split['origin']}, {split['samples']} images")),
            ]
        )
    )
    for warning in report.get("warnings", ()):
        out.print(f"[yellow]warning:[/] {plain(warning)}")
    out.print()
    _print_metrics(out, report["metrics"], report.get("base", {}))
    classes = report.get("classes", {})
    if 0 < len(classes) <= _MAX_CLASSES:
        out.print()
        _print_classes(out, classes)


def _print_metrics(out: Console, metrics: Mapping[str, float], base: Mapping[str, Any]) -> None:
    if not base.get("compared"):
        rows = [(plain(name), number(value)) for name, value in metrics.items()]
        out.print(table(("metric", "value"), rows, right=("value",)))
        out.print(f"[dim]{plain(base.get('reason', ''))}[/]")
        return
    before = base["metrics"]
    compared = [
        (plain(name), number(before[name]), number(value), f"{value - before[name]:+.4f}")
        for name, value in metrics.items()
    ]
    columns = ("metric", "base", "tuned", "change")
    out.print(table(columns, compared, right=columns[1:]))


def _print_classes(out: Console, classes: Mapping[str, Mapping[str, float]]) -> None:
    columns = tuple(next(iter(classes.values())))
    rows = [
        (
            plain(name),
            *(str(each[key]) if isinstance(each[key], int) else number(each[key]) for key in columns),
        )
        for name, each in classes.items()
    ]
    words = tuple({"support": "images", "f1": "F1"}.get(name, name) for name in columns)
    out.print(table(("class", *words), rows, right=words))
