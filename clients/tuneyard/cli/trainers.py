"""`tuneyard trainers`: the trainers of a server and what they do."""

import typer

from tuneyard.cli.command import command
from tuneyard.cli.formats import enum_word, plain, size, table
from tuneyard.cli.session import Session
from tuneyard.client.words import FAMILIES, word_of
from tuneyard.v1 import system_pb2


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(trainers)


def trainers(session: Session) -> None:
    """List the trainers with their health, their devices and what runs on them."""
    found = session.client.trainers()
    if session.json:
        session.document({"trainers": found})
        return
    rows = [
        (
            word_of(trainer.family, FAMILIES),
            plain(trainer.address),
            health(trainer),
            plain(device.id),
            plain(device.display_name),
            f"{size(device.memory_used_bytes)} of {size(device.memory_total_bytes)}",
            plain(device.job.removeprefix("jobs/")) or "[dim]free[/]",
        )
        for trainer in found
        for device in list(trainer.devices) or [system_pb2.Device()]
    ]
    session.out.print(table(("family", "address", "health", "device", "name", "memory", "job"), rows))
    for trainer in found:
        if trainer.problem:
            session.out.print(f"[yellow]{plain(trainer.address)}:[/] {plain(trainer.problem)}")


def health(trainer: system_pb2.Trainer) -> str:
    """The health's word, coloured."""
    word = enum_word(system_pb2.TrainerHealth.Name(trainer.health), "TRAINER_HEALTH")
    style = {"READY": "green", "UNREACHABLE": "red", "DEGRADED": "red"}.get(word, "yellow")
    return f"[{style}]{word}[/]"
