"""`generate`: pictures or one answer of a finished model; and which command tries which model."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.formats import plain
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.cli.talking import Manner, answer_once
from tuneyard.v1 import job_pb2
from tuneyard.v1.inference_service_pb2 import ChatTurn, GenerateImagesRequest

_COMMANDS: Final = {
    "image_classifier": "predict JOB IMAGE…",
    "object_detector": "predict JOB IMAGE…",
    "text_to_image_lora": "generate JOB PROMPT",
    "language_model": "chat JOB",
}


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(generate)


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
        answer_once(session, Manner(seed=seed).request(found.name, turns, base=False))
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
