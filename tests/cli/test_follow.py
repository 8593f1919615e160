import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from rich.console import Console

from tests.support.fake_gateway import FakeGateway, FakeJob
from tests.support.trainer_process import eventually
from tuneyard.cli.describe import describe, ending
from tuneyard.cli.views import LineView, LiveView, OutageNotes, Standing
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, training_service_pb2

Run = Callable[..., Any]


def test_watch_with_json_prints_an_event_a_line(gateway: FakeGateway, run: Run) -> None:
    job = FakeJob("jobs/1", per_call=4)
    job.serve(gateway)
    events = run("watch", "1", "--json").documents
    assert [int(event["sequence"]) for event in events] == list(range(1, len(job.events) + 1))
    assert events[2]["stateChange"]["to"] == "JOB_STATE_RUNNING"


def test_watch_starts_after_a_sequence(gateway: FakeGateway, run: Run) -> None:
    FakeJob("jobs/1").serve(gateway)
    assert run("watch", "1", "--after", 5, "--json").documents[0]["sequence"] == "6"


@pytest.fixture
def endless(gateway: FakeGateway) -> Iterator[FakeJob]:
    """A job that never ends: the stream stays open after its first events."""
    job = FakeJob("jobs/1")
    job.serve(gateway)

    left = threading.Event()

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(left.set)
        yield training_service_pb2.WatchJobResponse(events=job.events[:5])
        left.wait(20)

    gateway.on("WatchJob", watch)
    yield job


def interrupted(gateway: FakeGateway, *options: str, lines: int) -> tuple[list[str], str]:
    """Interrupts `tuneyard watch 1` after its first lines; returns these and what it says then."""
    # A shell's background job ignores the signal, and hands that down: `env` sets it back.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "tuneyard.cli", "watch", "1"]
    process = subprocess.Popen(
        [*command, "--server", gateway.address, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    shown = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert gateway.calls["CancelJob"] == 0
    return shown, err


@pytest.mark.parametrize("json_output", [True, False])
def test_an_interrupt_leaves_the_job_and_says_how_to_come_back(
    gateway: FakeGateway, endless: FakeJob, json_output: bool
) -> None:
    options = ["--json"] if json_output else []
    (first, *_), err = interrupted(gateway, *options, lines=5 if json_output else 3)
    assert json.loads(first)["sequence"] == "1" if json_output else "QUEUED" in first
    assert "jobs/1 goes on" in err
    assert f"tuneyard watch 1{' --after 5' if json_output else ''} --server {gateway.address}" in err


def test_an_interrupt_at_a_paused_job_says_how_to_resume_it(gateway: FakeGateway, endless: FakeJob) -> None:
    paused = _change(to=job_pb2.JOB_STATE_PAUSED, reason="paused at step 4")
    endless.events[4] = event_pb2.JobEvent(sequence=5, attempt=1, state_change=paused)
    _, err = interrupted(gateway, lines=4)
    assert "jobs/1 is paused" in err
    assert f"tuneyard jobs resume 1 --server {gateway.address}" in err


def test_metrics_of_single_classes_fill_no_lines() -> None:
    event = _event(metrics={"step": 3, "values": {"eval/map50": 0.5, "eval/ap50/cat": 0.4}})
    assert describe(event) == "epoch 0.00, step 3  eval/map50 0.5000"


def _event(**body: Any) -> event_pb2.JobEvent:
    return event_pb2.JobEvent(sequence=1, attempt=2, **body)


def _change(**values: Any) -> event_pb2.StateChangeEvent:
    return event_pb2.StateChangeEvent(**values)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            _event(state_change=_change(to=job_pb2.JOB_STATE_STARTING, trainer="t", resumed_from_step=40)),
            "STARTING  attempt 2 on trainer t, from step 40",
        ),
        (_event(state_change=_change(to=job_pb2.JOB_STATE_STARTING, reason="attempt 2")), "attempt 2\n"),
        (_event(metrics={"step": 4, "epoch": 0.752941, "values": {"eval/x": 1}}), "epoch 0.75, step 4"),
        (_event(stage={"name": "prepare", "done": True, "elapsed": {"seconds": 65}}), "prepare done in 1:05"),
        (_event(metrics={"step": 4, "epoch": 1, "values": {"eval/loss": 0.5, "x": 1}}), "eval/loss 0.5000"),
        (_event(checkpoint={"checkpoint": {"step": 4, "size_bytes": 1024, "best": True}}), "the best so far"),
        (_event(sample={"title": "batch", "artifact_path": "a.png"}), "batch → a.png"),
        (
            _event(sample={"text": {"prompt": "hi", "tuned": "ho", "base": "hm"}}),
            "hi\n  tuned    ho\n  base     hm",
        ),
        (
            _event(sample={"title": "What is trained on", "text": {"prompt": "⟦hi⟧"}}),
            "What is trained on:\n⟦hi⟧",
        ),
        (_event(log={"level": event_pb2.LOG_LEVEL_ERROR, "message": "[x]"}), "[x]"),
        (_event(warning={"message": "slow"}), "warning: slow"),
        (_event(advice={"observation": "rising", "remedies": ["stop earlier"]}), "→ stop earlier"),
        (
            _event(
                oom_recovered={
                    "step": 7,
                    "old_batch_size": 16,
                    "new_batch_size": 8,
                    "gradient_accumulation_steps": 2,
                }
            ),
            "at step 7: batch 16 → 8 with accumulation 2",
        ),
        (
            _event(rolled_back={"from_step": 6, "to_step": 4, "learning_rate_factor": 0.5}),
            "went back from step 6 to step 4: the learning rate is 0.5 times",
        ),
        (_event(artifact={"artifact": {"path": "m", "size_bytes": 10}}), "artifact m, 10 B"),
        (_event(result={"metrics": {"eval/accuracy_top1": 0.98}}), "eval/accuracy_top1 0.9800"),
    ],
)
def test_events_are_put_into_words(event: event_pb2.JobEvent, words: str) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(describe(event))
    assert words in captured.get()


def test_every_kind_of_event_is_described_or_left_out_on_purpose() -> None:
    kinds = {field.name for field in event_pb2.JobEvent.DESCRIPTOR.oneofs_by_name["body"].fields}
    described = {kind for kind in kinds if describe(_event(**{kind: {}})) is not None}
    assert kinds - described == {"progress", "stage", "metrics"}


def test_a_failure_is_told_with_its_remedies() -> None:
    error = errors_pb2.JobError(message="too big", remedies=["a smaller batch"])
    change = _change(to=job_pb2.JOB_STATE_FAILED, error=error, reason="too big")
    line = describe(_event(state_change=change))
    assert line is not None
    assert line.count("too big") == 1
    assert "too big\n  → a smaller batch" in line


def test_lines_of_progress_are_seldom_by_the_jobs_own_clock() -> None:
    console = Console(width=200)
    view = LineView(console)
    with console.capture() as captured:
        for second in range(25):
            progress = {"step": second, "total_steps": 100, "rate": 50.0, "unit": "images"}
            view.show([event_pb2.JobEvent(time={"seconds": 1000 + second}, progress=progress)])
    steps = [line.split()[1] for line in captured.get().splitlines()]
    assert steps == ["0/100", "10/100", "20/100"]


def test_a_waiting_job_is_told_once_per_change() -> None:
    console = Console(width=200)
    view = LineView(console)
    waiting = job_pb2.Job(state=job_pb2.JOB_STATE_QUEUED, queue_position=2, waiting_for="a free device")
    with console.capture() as captured:
        view.waiting(waiting)
        view.waiting(waiting)
    assert captured.get() == "place 2 in the queue: a free device\n"


def test_the_live_view_draws_bar_time_left_and_metrics() -> None:
    console = Console(width=160, force_terminal=True, color_system=None)
    view = LiveView(console)
    progress = {"step": 25, "total_steps": 100, "fraction": 0.25, "rate": 812.0, "unit": "images"}
    with console.capture() as captured:
        view.show([_event(progress={**progress, "remaining": {"seconds": 12}})])
        view.show([_event(metrics={"values": {"train/loss": 0.5}})])
        console.print(view._render())
    drawn = captured.get()
    assert "25%" in drawn
    assert "step 25/100" in drawn
    assert "812 images/s" in drawn
    assert "12" in drawn
    assert "train/loss 0.5000" in drawn


def test_the_live_view_of_a_paused_job_promises_nothing() -> None:
    console = Console(width=160, force_terminal=True, color_system=None)
    view = LiveView(console)
    progress = {"step": 25, "total_steps": 100, "rate": 812.0, "unit": "images", "remaining": {"seconds": 12}}
    with console.capture() as captured:
        view.show([_event(stage={"name": "train"}), _event(progress=progress)])
        view.show([_event(state_change=_change(to=job_pb2.JOB_STATE_PAUSED))])
        view.waiting(job_pb2.Job(state=job_pb2.JOB_STATE_PAUSED))
        console.print(view._render())
    drawn = captured.get()
    assert "paused until it is resumed" in drawn and "step 25/100" in drawn
    assert "left" not in drawn and "images/s" not in drawn


def test_what_a_job_waited_for_is_over_when_it_starts() -> None:
    standing = Standing()
    standing.wait_for(job_pb2.Job(state=job_pb2.JOB_STATE_QUEUED))
    standing.apply(_event(state_change=_change(to=job_pb2.JOB_STATE_STARTING)))
    assert standing.waiting_for == ""


def test_the_last_line_says_what_to_do_next() -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_SUCCEEDED)
    assert "tuneyard artifacts download 1 -o DIR" in ending(job)
    assert "tuneyard artifacts download 1 --server h:1 -o DIR" in ending(job, server_option=" --server h:1")


def test_the_last_line_about_a_failure_says_what_its_error_says() -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_FAILED)
    assert "→ what happened: tuneyard jobs show 1" in ending(job)
    job.error.remedies.extend(["Lower the learning rate.", "Warm up longer."])
    assert ending(job).endswith("\n  → Lower the learning rate.")
    job.error.retryable = True
    assert ending(job).endswith("→ Lower the learning rate.\n  → to run it again: tuneyard jobs rerun 1")


@pytest.mark.parametrize("width", [30, 60, 100])
def test_nothing_of_the_progress_is_cut_on_narrow_terminals(width: int) -> None:
    view = LiveView(Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None))
    progress = job_pb2.ProgressEvent(step=8, total_steps=300, epoch=0.7, total_epochs=27.2727, fraction=0.03)
    view.show([_event(progress=progress)])
    console = Console(width=width)
    with console.capture() as captured:
        console.print(view._render())
    shown = " ".join(captured.get().split())
    assert "step 8/300 epoch 0.7/27.3" in shown
    assert "…" not in shown


def test_json_output_gets_one_note_for_each_outage() -> None:
    console = Console(width=200, file=io.StringIO())
    notes = OutageNotes(console)
    for _ in range(2):
        notes.away("no answer")
        notes.away("still no answer")
        notes.waiting(job_pb2.Job())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("no answer; trying again") == 2
    assert "still" not in console.file.getvalue()


def test_an_outage_while_events_are_printed_as_json_is_told_on_standard_error(
    gateway: FakeGateway, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneyard.cli.follow._LOOK_AT_QUEUE_SECONDS", 0.02)
    job = FakeJob("jobs/1")
    job.serve(gateway)

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        before, tries_of_a_call = gateway.calls["GetJob"], 4
        gateway.fail("GetJob", grpc.StatusCode.UNAVAILABLE, times=tries_of_a_call)
        eventually(lambda: gateway.calls["GetJob"] >= before + tries_of_a_call + 2)
        yield training_service_pb2.WatchJobResponse(events=job.events)

    gateway.on("WatchJob", watch)
    ran = run("watch", "1", "--json")
    assert len(ran.documents) == len(job.events)
    assert ran.err.count("trying again") == 1


def test_a_server_that_is_away_is_said_once_and_forgotten_when_it_is_back() -> None:
    console = Console(width=200, file=io.StringIO())
    line = LineView(console)
    line.away("no answer")
    line.away("no answer")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("no answer; trying again") == 1
    live = LiveView(console)
    live.away("no answer")
    assert "no answer" in live._standing.waiting_for
    live.waiting(job_pb2.Job(state=job_pb2.JOB_STATE_RUNNING))
    assert live._standing.waiting_for == ""
