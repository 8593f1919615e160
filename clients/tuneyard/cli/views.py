"""How a job that is followed looks: moving on a terminal, as plain lines everywhere else."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tuneyard.cli.describe import describe, of_all, progress_line
from tuneyard.cli.formats import duration, number, rate, state_word
from tuneyard.v1 import event_pb2, job_pb2

_LINE_EVERY_SECONDS = 10
_SHORTEST_BAR, _LONGEST_BAR = 8, 36


class QueueView(Protocol):
    """Is told what is no event of a job."""

    def waiting(self, job: job_pb2.Job) -> None:
        """The server answers; where the job stands in the queue may have changed."""

    def away(self, problem: str) -> None:
        """The server does not answer; whoever follows the job tries on."""


class View(QueueView, Protocol):
    """Shows a job. `show` may be called from another thread than the others."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, events: Sequence[event_pb2.JobEvent]) -> None:
        """Something happened."""


class OutageNotes:
    """For programs, whose standard output holds events alone: one line for each time the server is away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._away = False

    def waiting(self, job: job_pb2.Job) -> None:
        self._away = False

    def away(self, problem: str) -> None:
        if not self._away:
            self._console.print(Text(_trying_on(problem)))
        self._away = True


class Standing:
    """What a job's events so far amount to."""

    def __init__(self) -> None:
        self.state: int = job_pb2.JOB_STATE_UNSPECIFIED
        self.stage = ""
        self.progress = job_pb2.ProgressEvent()
        self.metrics: dict[str, float] = {}
        self.waiting_for = ""

    def apply(self, event: event_pb2.JobEvent) -> None:
        """Takes in one event."""
        match event.WhichOneof("body"):
            case "state_change":
                self.state = event.state_change.to
                self.waiting_for = ""
                if self.state == job_pb2.JOB_STATE_PAUSED:
                    self.stage = ""
                    self.progress.ClearField("remaining")
                    self.progress.ClearField("rate")
            case "stage":
                self.stage = "" if event.stage.done else event.stage.name
            case "progress":
                self.progress.CopyFrom(event.progress)
            case "metrics":
                self.metrics |= event.metrics.values

    def wait_for(self, job: job_pb2.Job) -> str:
        """What the job waits for, in words; "" where it does not wait."""
        self.waiting_for = ""
        if job.state == job_pb2.JOB_STATE_QUEUED:
            place = f"place {job.queue_position} in the queue" if job.queue_position else "queued"
            self.waiting_for = f"{place}: {job.waiting_for}" if job.waiting_for else place
        if job.state == job_pb2.JOB_STATE_PAUSED:
            self.waiting_for = "paused until it is resumed"
        return self.waiting_for


class LineView:
    """One line for each thing worth it, and progress now and then, by the job's own clock."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._standing = Standing()
        self._next_line = 0.0
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, events: Sequence[event_pb2.JobEvent]) -> None:
        for event in events:
            self._standing.apply(event)
            line = describe(event)
            if event.WhichOneof("body") == "progress":
                line = self._progress(event)
            if line:
                self._console.print(line)

    def waiting(self, job: job_pb2.Job) -> None:
        words = self._standing.wait_for(job)
        if words and words != self._told:
            self._console.print(Text(words))
        self._told = words

    def away(self, problem: str) -> None:
        words = _trying_on(problem)
        if words != self._told:
            self._console.print(Text(words))
        self._told = words

    def _progress(self, event: event_pb2.JobEvent) -> str | None:
        now = event.time.seconds + event.time.nanos / 1e9
        if now < self._next_line or not event.progress.total_steps:
            return None
        self._next_line = now + _LINE_EVERY_SECONDS
        return progress_line(self._standing.progress, self._standing.metrics)


class LiveView:
    """Lines scroll by; below them a bar, the time left and the newest metrics stay in place."""

    def __init__(self, console: Console) -> None:
        self._standing = Standing()
        self._spinner = Spinner("dots")
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def show(self, events: Sequence[event_pb2.JobEvent]) -> None:
        for event in events:
            self._standing.apply(event)
            line = describe(event)
            if line:
                self._live.console.print(line)

    def waiting(self, job: job_pb2.Job) -> None:
        self._standing.wait_for(job)

    def away(self, problem: str) -> None:
        self._standing.waiting_for = _trying_on(problem)

    def _render(self) -> RenderableType:
        standing = self._standing
        words = standing.waiting_for or standing.stage or state_word(standing.state).lower()
        self._spinner.update(text=Text(f" {words}"))
        if not standing.progress.total_steps:
            return self._spinner
        width = self._live.console.width
        return Group(self._spinner, _bar(standing.progress, width=width), _metrics(standing.metrics))


def _bar(progress: job_pb2.ProgressEvent, *, width: int) -> RenderableType:
    facts = [
        f"{progress.fraction:4.0%}",
        f"step {progress.step}/{progress.total_steps}",
        f"epoch {progress.epoch:.1f}/{_short(progress.total_epochs)}",
    ]
    if progress.rate:
        facts.append(rate(progress.rate, progress.unit))
    if progress.HasField("remaining"):
        facts.append(f"{duration(progress.remaining.ToTimedelta())} left")
    words = Text("  ".join(facts))
    room = width - words.cell_len - 2
    if room < _SHORTEST_BAR:
        return words
    row = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=1.0, completed=progress.fraction, width=min(room, _LONGEST_BAR))
    row.add_row(bar, words)
    return row


def _trying_on(problem: str) -> str:
    return f"{problem}; trying again (the job does not depend on this)"


def _short(epochs: float) -> str:
    return f"{epochs:.1f}".removesuffix(".0")


def _metrics(metrics: Mapping[str, float]) -> RenderableType:
    listed = sorted(of_all(metrics).items())
    shown = [Text.assemble((name, "dim"), f" {number(value)}") for name, value in listed]
    return Text("   ").join(shown)
