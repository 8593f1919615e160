"""`predict`: classifying images, or finding objects in them, with a finished job's model."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.formats import plain, size, table
from tuneyard.cli.inference import require_task
from tuneyard.cli.session import EXIT_FAILED, EXIT_OK, Session
from tuneyard.client import InvalidRequest, image_batches
from tuneyard.client.inference import MAX_IMAGE_BYTES
from tuneyard.v1 import job_pb2
from tuneyard.v1.inference_service_pb2 import (
    Classification,
    ClassifyRequest,
    DetectRequest,
    ImageDetections,
    ImageInput,
)

T = TypeVar("T", Classification, ImageDetections)

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_OF_IMAGE: Final = re.compile(r"images\[(\d+)\]")
_PICTURES: Final = Path("predictions")


@dataclass(frozen=True)
class _Source:
    """An image file, and the name by which people know it: unique among those of one call."""

    name: str
    path: Path


@dataclass
class _Answers:
    """What came of the images."""

    classifications: list[Classification] = field(default_factory=list)
    images: list[ImageDetections] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(predict)


def predict(
    session: Session,
    job_and_images: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB IMAGE…",
            help="The job's id or name, then image files, or folders of them. With --job, images alone.",
        ),
    ],
    *,
    job: Annotated[
        str, typer.Option(help="The job, where it is not the first argument.", show_default=False)
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The folder for pictures with what was seen drawn in. Default for a detector: predictions.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Classes per image.", min=1, max=1000)] = 5,
    min_score: Annotated[
        float, typer.Option(help="Detectors: boxes below this score are left out.", min=0, max=1)
    ] = 0.25,
    iou_threshold: Annotated[
        float,
        typer.Option(help="Detectors: of boxes that overlap more, the weaker is left out.", min=0, max=1),
    ] = 0.7,
) -> int:
    """Classify images, or find objects in them, with a finished job's model."""
    name, *paths = [job, *job_and_images] if job else job_and_images
    if not paths:
        raise UsageFailure("name the job, and at least one image", hints=("tuneyard predict JOB IMAGE…",))
    sources = _sources([Path(path) for path in paths])
    found = session.client.jobs.get(name)
    require_task(found, "image_classifier", "object_detector")
    if _is_detector(found):
        folder = output if output or session.json else _PICTURES
        answers = _detect(session, found.name, sources, folder, (min_score, iou_threshold))
    else:
        answers = _classify(session, found.name, sources, output, top_k)
    _show(session, found, answers)
    for problem in answers.problems:
        session.err.print(f"[bold red]error:[/] {plain(problem)}")
    return EXIT_FAILED if answers.problems else EXIT_OK


def _is_detector(job: job_pb2.Job) -> bool:
    return job.spec.training.WhichOneof("task") == "object_detector"


def _sources(paths: Sequence[Path]) -> list[_Source]:
    """The image files that are meant, those of a folder in order."""
    named: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            found = [(file.relative_to(path).as_posix(), file) for file in _images_below(path)]
            if not found:
                raise UsageFailure(f"{path}: there are no images in this folder")
        elif path.is_file():
            found = [(path.name, path)]
        else:
            raise UsageFailure(f"{path}: there is no such file or folder")
        for name, file in found:
            # Two folders may hold files of one name; then their paths tell them apart.
            named[file.as_posix() if name in named and named[name] != file else name] = file
    return [_Source(name, file) for name, file in named.items()]


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)
    )


def _classify(
    session: Session, job: str, sources: Sequence[_Source], folder: Path | None, top_k: int
) -> _Answers:
    from tuneyard.cli import drawing  # Pillow, for which no other command is to wait

    answers = _Answers()

    def ask(images: Sequence[ImageInput]) -> Sequence[Classification]:
        return session.client.inference.classify(ClassifyRequest(job=job, images=images, top_k=top_k))

    for image, classified in _asked(session, sources, ask, answers.problems):
        answers.classifications.append(classified)
        if folder is not None:
            path = _picture(folder, image.name, answers.files)
            drawing.save(drawing.draw_label(image.content, classified), path)
    return answers


def _detect(
    session: Session,
    job: str,
    sources: Sequence[_Source],
    folder: Path | None,
    thresholds: tuple[float, float],
) -> _Answers:
    from tuneyard.cli import drawing

    answers = _Answers()
    min_score, iou_threshold = thresholds

    def ask(images: Sequence[ImageInput]) -> Sequence[ImageDetections]:
        request = DetectRequest(job=job, images=images, min_score=min_score, iou_threshold=iou_threshold)
        return session.client.inference.detect(request)

    for image, seen in _asked(session, sources, ask, answers.problems):
        answers.images.append(seen)
        if folder is not None:
            path = _picture(folder, image.name, answers.files)
            drawing.save(drawing.draw_boxes(image.content, seen.detections), path)
    return answers


def _asked(
    session: Session,
    sources: Sequence[_Source],
    ask: Callable[[Sequence[ImageInput]], Sequence[T]],
    problems: list[str],
) -> Iterator[tuple[ImageInput, T]]:
    """Each image with its answer; what cannot be used is a problem, and the others are asked about."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=session.err, disable=not session.err.is_terminal) as progress:
        task = progress.add_task("the model is loaded if it is not there yet", total=len(sources))
        for batch in image_batches(_read(sources, problems)):
            yield from _answered(batch, ask, problems)
            progress.update(task, advance=len(batch), description="images")


def _answered(
    batch: Sequence[ImageInput],
    ask: Callable[[Sequence[ImageInput]], Sequence[T]],
    problems: list[str],
) -> Iterator[tuple[ImageInput, T]]:
    usable = list(batch)
    while usable:
        try:
            answers = ask(usable)
        except InvalidRequest as error:
            bad = {match: v for v in error.violations if (match := _index_of_image(v.field)) is not None}
            if not bad or len(bad) < len(error.violations):
                raise
            problems += [bad[index].description for index in sorted(bad)]
            usable = [image for index, image in enumerate(usable) if index not in bad]
            continue
        yield from zip(usable, answers, strict=True)
        return


def _index_of_image(field: str) -> int | None:
    match = _OF_IMAGE.match(field)
    return int(match[1]) if match else None


def _read(sources: Sequence[_Source], problems: list[str]) -> Iterator[ImageInput]:
    for source in sources:
        size_bytes = source.path.stat().st_size
        if size_bytes == 0:
            problems.append(f"{source.name}: the file is empty")
        elif size_bytes > MAX_IMAGE_BYTES:
            problems.append(f"{source.name}: it has {size(size_bytes)}; at most 31 MiB can be sent")
        else:
            yield ImageInput(name=source.name, content=source.path.read_bytes())


def _picture(folder: Path, name: str, files: list[str]) -> Path:
    """Where an image's picture goes: under its own name where no other one has it."""
    # Names may be whole paths; none of them leads out of the folder.
    relative = Path(*(part for part in Path(name).parts if part not in ("/", "..")))
    path = folder / relative.with_suffix(".png")
    if str(path) in files:
        path = folder / relative.with_name(relative.name + ".png")
    files.append(str(path))
    return path


def _show(session: Session, job: job_pb2.Job, answers: _Answers) -> None:
    if session.json:
        seen = (
            {"images": answers.images} if _is_detector(job) else {"classifications": answers.classifications}
        )
        session.document({"job": job.name, **seen, "files": answers.files, "problems": answers.problems})
        return
    if _is_detector(job):
        rows = [row for image in answers.images for row in _detection_rows(image)]
        columns = ("IMAGE", "LABEL", "SCORE", "BOX")
    else:
        rows = [_classification_row(each) for each in answers.classifications]
        columns = ("IMAGE", "LABEL", "SCORE", "OTHERS")
    if rows:
        session.out.print(table(columns, rows, right=("SCORE",)))
    if answers.files:
        count, folder = len(answers.files), Path(answers.files[0]).parent
        where = answers.files[0] if count == 1 else f"{count} pictures in {folder}"
        session.err.print(f"drawn: {plain(where)}")


def _classification_row(each: Classification) -> tuple[str, ...]:
    best, *others = each.scores
    rest = ", ".join(f"{plain(score.label)} {score.score:.3f}" for score in others)
    return plain(each.name), plain(best.label), f"{best.score:.3f}", rest


def _detection_rows(image: ImageDetections) -> list[tuple[str, ...]]:
    if not image.detections:
        return [(plain(image.name), "[dim]nothing[/]", "", "")]
    return [
        (
            plain(image.name) if number == 0 else "",
            plain(each.label),
            f"{each.score:.3f}",
            f"{each.x_min:.0f},{each.y_min:.0f} – {each.x_max:.0f},{each.y_max:.0f}",
        )
        for number, each in enumerate(image.detections)
    ]
