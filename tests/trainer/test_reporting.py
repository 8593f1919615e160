import socket
from pathlib import Path

import pytest

from tuneyard.trainer.journal import JournalReader, JournalWriter
from tuneyard.trainer.reporting import LOG_BURST_LINES, Reporter, Wake
from tuneyard.trainer.run import LogLevel
from tuneyard.v1.job_pb2 import ProgressEvent
from tuneyard.v1.trainer_service_pb2 import RunCancelled, RunRecord


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Reports:
    """A reporter with a clock that a test moves, and what it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.reporter = Reporter(JournalWriter(path), write_interval_seconds=0.25, clock=self.clock)

    def progress(self, step: int, *, units: float = 1) -> None:
        self.reporter.progress(ProgressEvent(step=step, total_steps=1000), units=units)

    def loss(self, step: int) -> None:
        self.reporter.metrics(step=step, epoch=0, values={"train/loss": 1.0})

    def records(self) -> list[RunRecord]:
        with JournalReader(self.path) as reader:
            return reader.read(limit=10000)

    def progress_events(self) -> list[ProgressEvent]:
        return [r.progress for r in self.records() if r.HasField("progress")]

    def metric_steps(self) -> list[int]:
        return [r.metrics.step for r in self.records() if r.HasField("metrics")]

    def log_lines(self) -> list[str]:
        return [r.log.message for r in self.records() if r.HasField("log")]


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path / "journal")


def test_progress_is_written_as_often_as_was_set(reports: Reports) -> None:
    for step in range(1, 1001):
        reports.clock.now = step / 1000
        reports.progress(step)
    assert 4 <= len(reports.progress_events()) <= 5


def test_some_ten_points_of_training_metrics_a_second_are_kept(reports: Reports) -> None:
    for step in range(1, 1001):
        reports.clock.now = step / 1000
        reports.loss(step)
    reports.reporter.flush()
    assert 10 <= len(reports.metric_steps()) <= 14


def test_every_step_of_a_slow_training_keeps_its_metrics(reports: Reports) -> None:
    for step in range(1, 21):
        reports.clock.now = step * 0.15
        reports.progress(step)
        reports.loss(step)
    reports.reporter.flush()
    assert reports.metric_steps() == list(range(1, 21))
    assert len(reports.progress_events()) < 15


def test_evaluations_are_never_dropped_and_come_behind_the_last_training_metrics(reports: Reports) -> None:
    for step in range(1, 6):
        reports.loss(step)
    for _ in range(3):
        reports.reporter.metrics(step=5, epoch=0, values={"eval/loss": 1.0})
    assert reports.metric_steps() == [1, 5, 5, 5, 5]


def test_what_is_held_back_does_not_wait_for_the_next(reports: Reports) -> None:
    for step in (1, 2):
        reports.progress(step)
        reports.loss(step)
    reports.clock.now = 0.05
    reports.reporter.tick()
    assert [p.step for p in reports.progress_events()] == [1]
    reports.clock.now = 0.25
    reports.reporter.tick()
    assert reports.metric_steps() == [2]
    assert [p.step for p in reports.progress_events()] == [1, 2]


def test_the_last_record_comes_behind_everything_and_ends_the_journal(reports: Reports) -> None:
    for step in (1, 2):
        reports.loss(step)
    reports.reporter.end(cancelled=RunCancelled())
    reports.loss(3)
    reports.reporter.warn("late", "Too late.")
    reports.reporter.flush()
    assert [r.WhichOneof("body") for r in reports.records()] == ["metrics", "metrics", "cancelled"]


def test_rate_and_time_left_follow_the_last_seconds(reports: Reports) -> None:
    for step in range(1, 101):
        reports.clock.now = step / 2
        reports.progress(step, units=8)
    newest = reports.progress_events()[-1]
    assert newest.rate == pytest.approx(16)
    assert newest.remaining.ToTimedelta().total_seconds() == pytest.approx(450)


def test_a_flood_of_lines_is_cut_and_counted(reports: Reports) -> None:
    for line in range(LOG_BURST_LINES + 50):
        reports.reporter.log(f"line {line}", LogLevel.INFO)
    assert len(reports.log_lines()) == LOG_BURST_LINES
    reports.clock.now = 1
    reports.reporter.tick()
    assert reports.log_lines()[-1].startswith("50 lines of the log were left out")


def test_text_that_no_message_can_carry_is_repaired(reports: Reports) -> None:
    reports.reporter.log("name \udcff" + "x" * 10_000, LogLevel.WARNING)
    [line] = reports.log_lines()
    assert line.startswith("name ?x") and len(line) == 8000


def test_each_record_wakes_the_server(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "wake"))
        server.settimeout(5)
        wake = Wake(tmp_path / "wake", name="one-1")
        Reporter(JournalWriter(tmp_path / "journal"), wake=wake).warn("code", "text")
        assert server.recv(100) == b"one-1"
        wake.close()


def test_a_server_that_is_away_is_no_error(tmp_path: Path) -> None:
    wake = Wake(tmp_path / "nobody", name="one-1")
    wake()
    wake.close()


def test_silence_is_the_time_since_the_last_sign_of_work(reports: Reports) -> None:
    reports.progress(1)
    reports.clock.now = 10.0
    reports.reporter.warn("slow", "The machine is slow.")
    reports.reporter.tick()
    assert reports.reporter.silence_seconds == 10.0
    reports.loss(2)
    assert reports.reporter.silence_seconds == 0.0
