"""Shows what a training job would need."""

from collections.abc import Iterator

from google.protobuf.message import Message
from rich.console import Console

from tuneyard.cli.formats import duration, facts, plain, size, table
from tuneyard.cli.spec_options import choice
from tuneyard.datasets.words import counted
from tuneyard.v1.job_pb2 import Estimate, MemoryUse


def print_estimate(console: Console, estimate: Estimate) -> None:
    """Prints the numbers, every setting with where it comes from, and what is wrong."""
    console.print(facts(_facts(estimate)))
    given = set(estimate.given_fields)
    rows = [
        (plain(path), plain(value), "given" if path in given else "[dim]recommended[/]")
        for path, value in _leaves(estimate.resolved_spec.training)
    ]
    if rows:
        console.print()
        console.print(table(("setting", "value", ""), rows))
    for warning in estimate.warnings:
        console.print(f"[yellow]warning:[/] {plain(warning.field)}: {plain(warning.description)}")
    for violation in estimate.violations:
        console.print(f"[bold red]error:[/] {plain(violation.field)}: {plain(violation.description)}")
    if not estimate.fits and not estimate.violations:
        console.print("[bold red]error:[/] the job does not fit on any device")
    for alternative in estimate.alternatives:
        needs = memory_words(alternative.memory)
        console.print(f"  → {plain(alternative.description)}{f' ({needs})' if needs else ''}")


def _facts(estimate: Estimate) -> Iterator[tuple[str, str]]:
    if memory := memory_words(estimate.memory):
        yield "memory", memory
    if estimate.disk_bytes:
        yield "disk on the trainer", size(estimate.disk_bytes)
    if estimate.artifact_bytes:
        yield "artifacts", size(estimate.artifact_bytes)
    if estimate.HasField("duration"):
        yield "time", f"about {duration(estimate.duration.ToTimedelta())}"
    if estimate.total_steps:
        yield "steps", f"{estimate.total_steps} of {counted(estimate.effective_batch_size, 'sample')}"
    if estimate.train_samples:
        yield "samples", f"{estimate.train_samples} to train, {estimate.validation_samples} to validate"
    if estimate.largest_batch_size:
        yield "largest batch", str(estimate.largest_batch_size)


def memory_words(memory: MemoryUse) -> str:
    """ "2.0 GiB on the device, 1.1 GiB on the host"; empty where nothing is known."""
    parts = []
    if memory.device_bytes:
        parts.append(f"{size(memory.device_bytes)} on the device")
    if memory.host_bytes:
        parts.append(f"{size(memory.host_bytes)} on the host")
    return ", ".join(parts)


def _leaves(message: Message, prefix: str = "") -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if isinstance(value, Message):
            yield from _leaves(value, f"{path}.")
        elif field.message_type is not None:
            yield from ((f"{path}.{name}", _word(item)) for name, item in value.items())
        elif field.is_repeated:
            yield path, ", ".join(map(_word, value))
        elif field.enum_type is not None:
            yield path, choice(field, value)
        else:
            yield path, _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
