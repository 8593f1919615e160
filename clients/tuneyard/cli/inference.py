"""`generate` and `chat`: trying a finished model that draws or speaks. `predict` has a module of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.formats import plain
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.v1 import job_pb2
from tuneyard.v1.inference_service_pb2 import (
    ChatTurn,
    GenerateImagesRequest,
    GenerateTextRequest,
)

_COMMANDS: Final = {
    "image_classifier": "predict JOB IMAGE…",
    "object_detector": "predict JOB IMAGE…",
    "text_to_image_lora": "generate JOB PROMPT",
    "language_model": "chat JOB",
}


def add_to(root: typer.Typer) -> None:
    """Adds the commands to the root."""
    command(root)(generate)
    command(root)(chat)


def generate(
    session: Session,
    job: JobName,
    prompt: Annotated[str, typer.Argument(help="What to draw, or to answer.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for images.", metavar="DIR")
    ] = Path(),
    count: Annotated[int, typer.Option(help="How many images.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="Default: drawn.", show_default=False)] = None,
) -> None:
    """Draw images, or answer a prompt, with a finished job's model."""
    found = session.client.jobs.get(job)
    require_task(found, "text_to_image_lora", "language_model")
    if found.spec.training.WhichOneof("task") == "language_model":
        turns = [ChatTurn(role="user", content=prompt)]
        text = _answer(session, found.name, turns, aloud=not session.json)
        if session.json:
            session.document({"text": text})
        return
    request = GenerateImagesRequest(job=found.name, prompt=prompt, count=count, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for image in session.client.inference.generate_images(request):
        file = output / f"{found.name.removeprefix('jobs/')}-{image.seed}.png"
        file.write_bytes(image.png)
        files.append(str(file))
    if session.json:
        session.document({"files": files})
    else:
        session.out.print("\n".join(plain(file) for file in files))


def chat(session: Session, job: JobName) -> None:
    """Talk to a finished job's model. An empty line or Ctrl-D ends it."""
    found = session.client.jobs.get(job)
    require_task(found, "language_model")
    turns: list[ChatTurn] = []
    while question := _ask(session):
        turns.append(ChatTurn(role="user", content=question))
        answer = _answer(session, found.name, turns, aloud=not session.json)
        turns.append(ChatTurn(role="assistant", content=answer))
        if session.json:
            session.document({"role": "assistant", "content": answer})


def require_task(job: job_pb2.Job, *tasks: str) -> None:
    """Refuses a job whose model another command tries, and names that command."""
    task = job.spec.training.WhichOneof("task")
    if task is None or task in tasks:
        # A job that trained nothing is the server's to explain.
        return
    raise UsageFailure(
        f"{job.name} trained a model of the task {task.replace('_', '-')}",
        hints=(f"tuneyard {_COMMANDS[task]}",),
    )


def _ask(session: Session) -> str:
    if sys.stdin.isatty():
        session.err.print("[bold]you:[/] ", end="")
    return sys.stdin.readline().strip()


def _answer(session: Session, job: str, turns: Sequence[ChatTurn], *, aloud: bool) -> str:
    pieces = []
    for piece in session.client.inference.generate_text(GenerateTextRequest(job=job, messages=turns)):
        pieces.append(piece.text)
        if aloud:
            session.out.print(plain(piece.text), end="")
    if aloud:
        session.out.print()
    return "".join(pieces)
