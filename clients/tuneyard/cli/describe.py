"""Puts what happens to a job into words: one line for each event worth one."""

from collections.abc import Mapping

from tuneyard.cli.formats import duration, number, plain, rate, size, state_word, styled_state
from tuneyard.datasets.words import counted
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2


def describe(event: event_pb2.JobEvent) -> str | None:
    """The line for an event, with markup; None for progress, training metrics and what only begins."""
    kind = event.WhichOneof("body")
    describer = _DESCRIBERS.get(kind or "")
    return describer(event) if describer is not None else None


def metrics_line(values: Mapping[str, float]) -> str:
    """ "eval/accuracy_top1 0.9722  eval/loss 0.1021"."""
    return "  ".join(f"{plain(name)} {number(value)}" for name, value in sorted(of_all(values).items()))


def of_all(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics without those of single classes ("eval/ap50/cat"), of which there may be hundreds."""
    return {name: value for name, value in values.items() if name.count("/") < 2}


def progress_line(progress: job_pb2.ProgressEvent, metrics: Mapping[str, float]) -> str:
    """ "step 40/120 (33 %)  812 images/s  0:12 left  train/loss 0.5312"."""
    parts = [f"step {progress.step}/{progress.total_steps} ({progress.fraction:.0%})"]
    if progress.rate:
        parts.append(rate(progress.rate, plain(progress.unit)))
    if progress.HasField("remaining"):
        parts.append(f"{duration(progress.remaining.ToTimedelta())} left")
    shown = {name: metrics[name] for name in ("train/loss",) if name in metrics}
    return "  ".join([*parts, metrics_line(shown)]).rstrip()


def _state_change(event: event_pb2.JobEvent) -> str:
    change = event.state_change
    line = styled_state(change.to)
    if change.to == job_pb2.JOB_STATE_STARTING:
        line += f"  attempt {event.attempt}"
        if change.trainer:
            line += f" on trainer {plain(change.trainer)}"
        if change.resumed_from_step:
            line += f", from step {change.resumed_from_step}"
    if change.reason not in ("", f"attempt {event.attempt}", change.error.message):
        line += f"  [dim]{plain(change.reason)}[/]"
    if change.HasField("error"):
        line += f"  {plain(change.error.message)}"
        line += "".join(f"\n  → {plain(remedy)}" for remedy in change.error.remedies)
    return line


def _stage(event: event_pb2.JobEvent) -> str | None:
    stage = event.stage
    if not stage.done:
        return None
    detail = f"  [dim]{plain(stage.detail)}[/]" if stage.detail else ""
    return f"{plain(stage.name)} done in {duration(stage.elapsed.ToTimedelta())}{detail}"


def _metrics(event: event_pb2.JobEvent) -> str | None:
    measured = {name: value for name, value in event.metrics.values.items() if name.startswith("eval/")}
    if not measured:
        return None
    return f"epoch {event.metrics.epoch:.2f}, step {event.metrics.step}  {metrics_line(measured)}"


def _checkpoint(event: event_pb2.JobEvent) -> str:
    checkpoint = event.checkpoint.checkpoint
    best = ", the best so far" if checkpoint.best else ""
    return f"[dim]checkpoint at step {checkpoint.step}, {size(checkpoint.size_bytes)}{best}[/]"


def _text_sample(sample: event_pb2.SampleEvent) -> str:
    """The prompt, and below it the answers that there are, of the tuned model first."""
    text = sample.text
    answers = {"tuned": text.tuned, "base": text.base, "expected": text.reference}
    told = {name: plain(answer) for name, answer in answers.items() if answer}
    if not told:
        return f"[dim]{plain(sample.title or 'sample')}:[/]\n{plain(text.prompt)}"
    lines = [f"sample: {plain(text.prompt)}"]
    lines += [f"  [dim]{name:<8}[/] {answer}" for name, answer in told.items()]
    return "\n".join(lines)


def _sample(event: event_pb2.JobEvent) -> str:
    sample = event.sample
    if sample.WhichOneof("content") == "text":
        return _text_sample(sample)
    return f"[dim]sample: {plain(sample.title)} → {plain(sample.artifact_path)}[/]"


def _log(event: event_pb2.JobEvent) -> str | None:
    if event.log.level == event_pb2.LOG_LEVEL_DEBUG:
        return None
    style = {event_pb2.LOG_LEVEL_WARNING: "yellow", event_pb2.LOG_LEVEL_ERROR: "red"}.get(
        event.log.level, "dim"
    )
    return f"[{style}]{plain(event.log.message)}[/]"


def _warning(event: event_pb2.JobEvent) -> str:
    return f"[yellow]warning:[/] {plain(event.warning.message)}"


def _advice(event: event_pb2.JobEvent) -> str:
    remedies = "".join(f"\n  → {plain(remedy)}" for remedy in event.advice.remedies)
    return f"[magenta]advice:[/] {plain(event.advice.observation)}{remedies}"


def _out_of_memory(event: event_pb2.JobEvent) -> str:
    recovered = event.oom_recovered
    return (
        f"[yellow]out of memory[/] at step {recovered.step}: batch {recovered.old_batch_size} → "
        f"{recovered.new_batch_size} with accumulation {recovered.gradient_accumulation_steps}; "
        "samples per step stay equal"
    )


def _rolled_back(event: event_pb2.JobEvent) -> str:
    back = event.rolled_back
    return (
        f"[yellow]went back[/] from step {back.from_step} to step {back.to_step}: "
        f"the learning rate is {back.learning_rate_factor:g} times what it was to be"
    )


def _artifact(event: event_pb2.JobEvent) -> str:
    artifact = event.artifact.artifact
    return f"[dim]artifact {plain(artifact.path)}, {size(artifact.size_bytes)}[/]"


def _result(event: event_pb2.JobEvent) -> str:
    result = event.result
    stopped = "stopped early; " if result.early_stopped else ""
    summary = plain(result.summary) or f"done after {counted(result.step, 'step')}"
    return f"[bold]{stopped}{summary}[/]\n  {metrics_line(result.metrics)}".rstrip()


_DESCRIBERS = {
    "state_change": _state_change,
    "stage": _stage,
    "metrics": _metrics,
    "checkpoint": _checkpoint,
    "sample": _sample,
    "log": _log,
    "warning": _warning,
    "advice": _advice,
    "oom_recovered": _out_of_memory,
    "rolled_back": _rolled_back,
    "artifact": _artifact,
    "result": _result,
}


def _ways_on(error: errors_pb2.JobError, identifier: str) -> list[str]:
    """What to do about a failure: what it says itself, and a rerun only where that may help."""
    ways = [plain(remedy) for remedy in error.remedies[:1]]
    if error.retryable:
        ways.append(f"to run it again: tuneyard jobs rerun {identifier}")
    return ways or [f"what happened: tuneyard jobs show {identifier}"]


def ending(job: job_pb2.Job, *, server_option: str = "") -> str:
    """The last line about a job, and what to do with it, at the server that the option names."""
    took = ""
    if job.HasField("start_time") and job.HasField("end_time"):
        took = f" after {duration(job.end_time.ToDatetime() - job.start_time.ToDatetime())}"
    line = f"{plain(job.name)} {state_word(job.state)}{took}"
    identifier = job.name.removeprefix("jobs/") + plain(server_option)
    if job.state == job_pb2.JOB_STATE_SUCCEEDED:
        return f"[green]{line}[/]\n  → tuneyard artifacts download {identifier} -o DIR"
    if job.state == job_pb2.JOB_STATE_FAILED:
        return "\n  → ".join([f"[red]{line}[/]", *_ways_on(job.error, identifier)])
    return f"[yellow]{line}[/]"
