"""Shows an evaluation's report.json to people: what was measured on which split, beside the base model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from tuneyard.cli.formats import facts, number, plain, table

_MAX_CLASSES: Final = 30
_MAX_ANSWERS: Final = 3
_MAX_CHARACTERS: Final = 200
_ROWS: Final = {"language_model": "rows"}
"""What samples of a task are called that are no images."""


def print_report(out: Console, report: Mapping[str, Any]) -> None:
    """Prints a report: facts, metrics, and the classes where they are few."""
    split, samples = report["split"], _ROWS.get(report.get("task", ""), "images")
    out.print(
        facts(
            [
                ("model", plain(f"{report['architecture']}, trained by {report['source_job']}")),
                ("dataset", plain(report["dataset"])),
                ("split", plain(f"{split['name']}: {split['origin']}, {split['samples']} {samples}")),
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
    if answers := report.get("answers", ()):
        out.print()
        _print_answers(out, answers)


def _print_metrics(out: Console, metrics: Mapping[str, float | None], base: Mapping[str, Any]) -> None:
    if not base.get("compared"):
        rows = [(plain(name), _number(value)) for name, value in metrics.items()]
        out.print(table(("metric", "value"), rows, right=("value",)))
        out.print(f"[dim]{plain(base.get('reason', ''))}[/]")
        return
    before = base["metrics"]
    compared = [
        (plain(name), _number(before[name]), _number(value), _change(before[name], value))
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


def _print_answers(out: Console, answers: Sequence[Mapping[str, Any]]) -> None:
    for answer in answers[:_MAX_ANSWERS]:
        pairs = [
            ("prompt", answer["messages"][-1]["content"]),
            ("reference", answer["reference"]),
            ("base", answer.get("base", "")),
            ("tuned", answer["tuned"]),
        ]
        out.print(facts([(name, plain(_short(text))) for name, text in pairs]))
        out.print()
    if len(answers) > _MAX_ANSWERS:
        out.print(f"[dim]{len(answers) - _MAX_ANSWERS} more answers are in the report[/]")


def _number(value: float | None) -> str:
    """Reports hold null for what is no number, such as an endless perplexity."""
    return "–" if value is None else number(value)


def _change(before: float | None, value: float | None) -> str:
    return "" if before is None or value is None else f"{value - before:+.4f}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
