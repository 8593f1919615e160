"""`tuneyard jobs …` and `tuneyard watch`: looking at jobs and steering them."""

from typing import Annotated

import typer

from tuneyard.cli.command import UsageFailure, command, value_named
from tuneyard.cli.describe import metrics_line
from tuneyard.cli.estimates import memory_words
from tuneyard.cli.follow import follow
from tuneyard.cli.formats import (
    duration,
    facts,
    local_time,
    number,
    plain,
    size,
    state_word,
    styled_state,
    table,
)
from tuneyard.cli.session import Session
from tuneyard.cli.train import Watch, created, label_of
from tuneyard.client.words import FAMILIES, TASKS
from tuneyard.v1 import job_pb2
from tuneyard.v1.job_pb2 import Job
from tuneyard.v1.training_service_pb2 import JobFilter

app = typer.Typer(no_args_is_help=True, help="List, show and steer jobs.")

JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's id or name.")]


def add_watch(root: typer.Typer) -> None:
    """Adds `tuneyard watch` to the root."""
    command(root, "watch")(_watch)


def _watch(
    session: Session,
    job: JobName,
    *,
    after: Annotated[
        int, typer.Option(help="Only events after this sequence.", metavar="SEQUENCE", min=0)
    ] = 0,
) -> int:
    """Follow a job to its end. With --json: one event a line."""
    return follow(session, job, after=after)


@command(app, "list")
def _list(
    session: Session,
    *,
    state: Annotated[list[str], typer.Option(help="Only in this state; several may be given.")] = [],  # noqa: B006
    family: Annotated[list[str], typer.Option(help="Only of this family: vision, diffusion, llm.")] = [],  # noqa: B006
    task: Annotated[list[str], typer.Option(help="Only of this task, such as image-classifier.")] = [],  # noqa: B006
    dataset: Annotated[str, typer.Option(help="Only jobs that use this dataset.", show_default=False)] = "",
    label: Annotated[list[str], typer.Option(help="Only with this label.", metavar="NAME=VALUE")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(help="At most this many; 0 lists all.", min=0)] = 50,
) -> None:
    """List jobs, newest first."""
    filter = JobFilter(
        states=[_state(word) for word in state],
        families=[value_named("--family", word, FAMILIES) for word in family],
        tasks=[value_named("--task", word, TASKS) for word in task],
        dataset=dataset if "/" in dataset or not dataset else f"datasets/{dataset}",
        labels=dict(label_of(text) for text in label),
    )
    jobs = session.client.jobs.list(filter, limit=limit or None)
    if session.json:
        session.document({"jobs": jobs})
        return
    rows = [
        (
            plain(job.name.removeprefix("jobs/")),
            styled_state(job.state),
            plain(_kind(job)),
            plain(_model(job)),
            _progress(job),
            _best(job),
            local_time(job.create_time),
        )
        for job in jobs
    ]
    session.out.print(table(("job", "state", "task", "base model", "progress", "best", "created"), rows))


@command(app)
def show(session: Session, job: JobName) -> None:
    """Show one job, its settings, checkpoints and artifacts."""
    found = session.client.jobs.get(job)
    if session.json:
        session.document(found)
        return
    session.out.print(facts(_facts(found)))
    for warning in found.warnings:
        session.out.print(f"[yellow]warning:[/] {plain(warning)}")
    if found.state == job_pb2.JOB_STATE_FAILED:
        session.out.print(f"[bold red]error:[/] {plain(found.error.message)}")
        for remedy in found.error.remedies:
            session.out.print(f"  → {plain(remedy)}")
    checkpoints = session.client.jobs.checkpoints(job)
    if checkpoints:
        rows = [
            (
                str(each.step),
                f"{each.epoch:.2f}",
                local_time(each.time),
                size(each.size_bytes),
                "best" if each.best else "",
                "" if each.available else "deleted",
                metrics_line({k: v for k, v in each.metrics.items() if k.startswith("eval/")}),
            )
            for each in checkpoints
        ]
        session.out.print()
        session.out.print(table(("checkpoint", "epoch", "saved", "size", "", "", "metrics"), rows))


@command(app)
def cancel(session: Session, job: JobName) -> None:
    """End a job. Nothing is saved."""
    _tell(session, session.client.jobs.cancel(job))


@command(app)
def pause(session: Session, job: JobName) -> None:
    """Let a job finish its step, save, and rest."""
    _tell(session, session.client.jobs.pause(job))


@command(app)
def resume(session: Session, job: JobName) -> None:
    """Queue a paused job again."""
    _tell(session, session.client.jobs.resume(job))


@command(app)
def rerun(
    session: Session,
    job: JobName,
    *,
    priority: Annotated[
        int | None, typer.Option(help="Default: that of the old job.", show_default=False)
    ] = None,
    watch: Watch = None,
) -> int:
    """Create a new job from one that has ended, with the same spec."""
    return created(session, session.client.jobs.rerun(job, priority=priority).name, watch=watch)


@command(app)
def delete(session: Session, job: JobName) -> None:
    """Delete a job that has ended, with its events, checkpoints and artifacts."""
    session.client.jobs.delete(job)
    if session.json:
        session.document({"deleted": job})
    else:
        session.out.print(f"deleted {plain(job)}")


def _tell(session: Session, job: Job) -> None:
    if session.json:
        session.document(job)
    else:
        session.out.print(f"{plain(job.name)} {styled_state(job.state)}")


def _state(word: str) -> "job_pb2.JobState.ValueType":
    states = {state_word(value): value for value in job_pb2.JobState.values() if value}
    if word.upper() not in states:
        raise UsageFailure(f"--state {word!r} is none of {', '.join(states).lower()}")
    return states[word.upper()]


def _kind(job: Job) -> str:
    if job.spec.WhichOneof("kind") != "training":
        return job.spec.WhichOneof("kind") or ""
    return (job.spec.training.WhichOneof("task") or "").replace("_", "-")


def _model(job: Job) -> str:
    if job.spec.WhichOneof("kind") == "training":
        return job.spec.training.base_model
    for kind in (job.spec.merge, job.spec.export, job.spec.evaluate):
        if kind.source_job:
            return kind.source_job
    return ""


def _progress(job: Job) -> str:
    if job.state == job_pb2.JOB_STATE_QUEUED:
        return f"place {job.queue_position}" if job.queue_position else plain(job.waiting_for)
    if not job.progress.total_steps:
        return ""
    left = ""
    if job.state == job_pb2.JOB_STATE_RUNNING and job.progress.HasField("remaining"):
        left = f", {duration(job.progress.remaining.ToTimedelta())} left"
    return f"{job.progress.fraction:.0%}{left}"


def _best(job: Job) -> str:
    for name in ("eval/accuracy_top1", "eval/map50", "eval/loss", "train/loss"):
        if name in job.metrics:
            return f"{name} {number(job.metrics[name].best)}"
    return ""


def _measured_best(job: Job) -> dict[str, float]:
    """The best of what was measured on held-out data: a greatest learning rate is no achievement."""
    return {name: each.best for name, each in job.metrics.items() if not name.startswith("train/")}


def _facts(job: Job) -> list[tuple[str, str]]:
    progress = job.progress
    return [
        ("job", plain(job.name)),
        ("state", styled_state(job.state)),
        ("waits for", plain(job.waiting_for)),
        ("place in the queue", str(job.queue_position) if job.queue_position else ""),
        ("task", plain(_kind(job))),
        ("base model", plain(_model(job))),
        ("dataset", plain(job.spec.training.dataset)),
        ("created", local_time(job.create_time)),
        ("started", local_time(job.start_time)),
        ("ended", local_time(job.end_time)),
        ("attempts", str(job.attempt_count)),
        ("trainer", plain(job.trainer)),
        ("resumed from", f"step {job.resumed_from.step}" if job.HasField("resumed_from") else ""),
        ("step", f"{progress.step} of {progress.total_steps}" if progress.total_steps else ""),
        ("memory predicted", memory_words(job.estimate.memory)),
        ("highest so far", memory_words(job.peak_memory)),
        ("metrics", metrics_line({name: each.latest for name, each in job.metrics.items()})),
        ("best", metrics_line(_measured_best(job))),
        ("labels", plain(", ".join(f"{name}={value}" for name, value in job.labels.items()))),
        ("rerun of", plain(job.rerun_of)),
    ]
