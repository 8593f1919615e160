"""`generate`: pictures or one answer of a finished model; and which command tries which model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.formats import plain
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.cli.talking import Manner, answer_once
from tuneyard.v1 import job_pb2
from tuneyard.v1.inference_service_pb2 import ChatTurn, GeneratedImage, GenerateImagesRequest

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
        Path | None,
        typer.Option("--output", "-o", help="The folder for images. Default: this one.", metavar="DIR"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="How many images. Default: 1.", min=1, show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the first image; each further one has the next. Default: drawn.",
            min=0,
            show_default=False,
        ),
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What images are not to show.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps. Default: 30.", min=1, max=1000, show_default=False)
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            help="How closely images follow the prompt. Default: 7.5.", min=0, max=100, show_default=False
        ),
    ] = None,
    lora_scale: Annotated[
        float | None,
        typer.Option(
            help="The strength of what was trained; 0 is the base model. Default: 1.",
            min=0,
            max=10,
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="In px. Default: as it was trained.", min=64, max=4096, show_default=False),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(help="In px. Default: as it was trained.", min=64, max=4096, show_default=False),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Let the base model draw or answer too.")] = False,
) -> None:
    """Draw images, or answer a prompt, with a finished job's model."""
    found = session.client.jobs.get(job)
    require_task(found, "text_to_image_lora", "language_model")
    of_images: dict[str, Any] = {
        "negative_prompt": negative_prompt,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "lora_scale": lora_scale,
        "width": width,
        "height": height,
    }
    if found.spec.training.WhichOneof("task") == "language_model":
        _require_none({"output": output, "count": count, **of_images}, job=found)
        turns = [ChatTurn(role="user", content=prompt)]
        answer_once(session, Manner(seed=seed).request(found.name, turns, base=base))
        return
    given = {name: value for name, value in of_images.items() if value is not None}
    request = GenerateImagesRequest(job=found.name, prompt=prompt, seed=seed, **given)
    _draw(session, request, folder=output or Path(), count=count or 1, base=base)


def _draw(session: Session, request: GenerateImagesRequest, *, folder: Path, count: int, base: bool) -> None:
    """Writes the images as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    waiting = session.err.status("drawing; the model is loaded if it is not there yet")
    if session.err.is_terminal:
        waiting.start()
    try:
        for image, of_base in _drawn(session, request, count=count, base=base):
            name = f"{request.job.removeprefix('jobs/')}-{image.seed}{'-base' if of_base else ''}.png"
            file = folder / name
            file.write_bytes(image.png)
            images.append({"file": str(file), "seed": image.seed, "base": of_base})
            if not session.json:
                session.out.print(plain(str(file)))
    finally:
        waiting.stop()
    if session.json:
        session.document({"job": request.job, "images": images, "files": [image["file"] for image in images]})


def _drawn(
    session: Session, request: GenerateImagesRequest, *, count: int, base: bool
) -> Iterator[tuple[GeneratedImage, bool]]:
    """One image a call: each has all of a call's time, and what is there stays when a later one fails."""
    for number in range(count):
        (image,) = session.client.inference.generate_images(request)
        yield image, False
        if base:
            of_base = GenerateImagesRequest()
            of_base.CopyFrom(request)
            of_base.seed, of_base.lora_scale = image.seed, 0
            (plain_image,) = session.client.inference.generate_images(of_base)
            yield plain_image, True
        if number + 1 < count:
            request.seed = image.seed + 1


def _require_none(options: dict[str, object], *, job: job_pb2.Job) -> None:
    """Refuses options that only images have."""
    for name, value in options.items():
        if value is not None:
            raise UsageFailure(
                f"--{name.replace('_', '-')} is for images, and {job.name} trained a language model",
                hints=("tuneyard chat JOB PROMPT",),
            )


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
