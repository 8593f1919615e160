"""How values look to people: bytes, durations, times, states, tables."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuneyard.v1 import job_pb2

_ANY_WIDTH: Final = 100_000
_STYLES = {
    job_pb2.JOB_STATE_SUCCEEDED: "green",
    job_pb2.JOB_STATE_FAILED: "red",
    job_pb2.JOB_STATE_CANCELLED: "yellow",
    job_pb2.JOB_STATE_RUNNING: "cyan",
    job_pb2.JOB_STATE_FINALIZING: "cyan",
}


def size(count: int) -> str:
    """1536 → "1.5 KiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(value: timedelta) -> str:
    """ "4.2 s", "3:05", "1:02:03"."""
    seconds = max(value.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def local_time(value: Timestamp) -> str:
    """The time on the caller's clock; "" where it is not set."""
    if not value.ByteSize():
        return ""
    moment = value.ToDatetime(tzinfo=UTC).astimezone()
    same_day = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M")


def rate(value: float, unit: str) -> str:
    """ "812 images/s"; of slow ones as many digits as say something, "0.63 images/s"."""
    told = f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    return f"{told} {unit}/s"


def number(value: float) -> str:
    """A metric: four decimals where they say something, else three significant digits."""
    if value == 0 or 0.01 <= abs(value) < 100:
        return f"{value:.4f}"
    return f"{value:.1f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def state_word(state: int) -> str:
    """JOB_STATE_RUNNING → "RUNNING"; the number for one of a newer server."""
    found = job_pb2.JobState.DESCRIPTOR.values_by_number.get(state)
    return found.name.removeprefix("JOB_STATE_") if found else str(state)


def styled_state(state: int) -> str:
    """The state's word, coloured."""
    style = _STYLES.get(state)  # type: ignore[call-overload]
    return f"[{style}]{state_word(state)}[/]" if style else state_word(state)


def enum_word(name: str, prefix: str) -> str:
    """ "TRAINER_HEALTH_READY" → "READY"."""
    return name.removeprefix(f"{prefix}_")


class Rows:
    """A table that is never cut: where words do not fit side by side, a row becomes a few lines."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
        self._columns = columns
        self._rows = rows
        self._right = right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        side_by_side = self._table()
        if (
            Measurement.get(console, options.update(width=_ANY_WIDTH), side_by_side).minimum
            <= options.max_width
        ):
            yield side_by_side
            return
        for row in self._rows:
            # What commands are given stands on a line of its own, for people who copy it.
            yield Text.from_markup(row[0], overflow="fold", style="bold")
            named = zip(self._columns[1:], row[1:], strict=True)
            facts = [f"[dim]{column}[/] {cell}".strip() for column, cell in named if cell]
            yield Padding(Text.from_markup("  ".join(facts)), (0, 0, 0, 2), expand=False)

    def _table(self) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(self._columns):
            justify: Literal["left", "right"] = "right" if column in self._right else "left"
            made.add_column(column, justify=justify, no_wrap=number == 0)
        for row in self._rows:
            made.add_row(*row)
        return made


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> Rows:
    """A table of texts; cells may hold markup, so escape what others wrote."""
    return Rows(columns, list(rows), right)


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Names and values below one another; pairs without a value are left out."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            made.add_row(name, value)
    return made


def plain(text: str) -> str:
    """Text from elsewhere, safe to print among markup."""
    return escape(text)
