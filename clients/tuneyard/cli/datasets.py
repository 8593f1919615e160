"""`tuneyard datasets …`: checking datasets here, and keeping them on the server."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneyard.cli.command import UsageFailure, command, value_named
from tuneyard.cli.dataset_names import stored_dataset
from tuneyard.cli.findings import Shown, print_findings
from tuneyard.cli.formats import enum_word, local_time, plain, size, table
from tuneyard.cli.previews import print_preview
from tuneyard.cli.session import EXIT_FAILED, EXIT_OK, Session
from tuneyard.cli.transfers import shown_transfers
from tuneyard.client import DatasetInvalid
from tuneyard.client.words import DATASET_FORMATS, word_of
from tuneyard.datasets.words import counted
from tuneyard.v1 import dataset_pb2, training_pb2

if TYPE_CHECKING:
    from tuneyard.datasets.report import Report

app = typer.Typer(
    no_args_is_help=True, help="Check, upload, list, show, preview, filter and delete datasets."
)

_TRAIN_ON = {"assistant": training_pb2.TRAIN_ON_ASSISTANT, "all": training_pb2.TRAIN_ON_ALL}

Format = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(DATASET_FORMATS)}. Default: guessed from the files, which is said.",
        metavar="FORMAT",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's id or title.")]


@command(app)
def check(
    session: Session,
    path: Annotated[Path, typer.Argument(help="A folder, a ZIP file, or a file of examples.")],
    *,
    format: Format = "",
) -> int:
    """Check a dataset on this machine; no server is needed. Exit 1 when it cannot be used."""
    # Pillow is slow to import, and no other command needs it.
    from tuneyard.datasets import FormatNotSupported
    from tuneyard.datasets import check as check_dataset

    format = _format_of(session, path, format)
    try:
        with session.err.status("checking …") as status:
            report = check_dataset(
                path,
                format=format,
                progress=lambda told: status.update(f"{told.stage} … {told.done} of {told.total}"),
            )
    except FormatNotSupported as error:
        raise UsageFailure(str(error)) from error
    if session.json:
        session.out.file.write(json.dumps(report.to_dict(), ensure_ascii=False) + "\n")
        return EXIT_FAILED if report.has_errors else EXIT_OK
    shown = [
        Shown(
            each.severity.value,
            each.code.value,
            path=each.path or "",
            line=each.line or 0,
            message=each.message,
            remedy=each.remedy or "",
        )
        for each in report.findings
    ]
    print_findings(session.out, shown, counts={str(code): count for code, count in report.counts.items()})
    if report.samples:
        splits = ", ".join(f"{name} {split.samples}" for name, split in report.splits.items())
        classes = f" in {counted(len(report.classes), 'class')}" if report.classes else ""
        epoch = _epoch_of_captioned(report)
        session.out.print(f"{counted(report.samples, 'sample')}{classes} ({splits}){epoch}")
    session.out.print("[bold red]cannot be used[/]" if report.has_errors else "[green]ready to be used[/]")
    return EXIT_FAILED if report.has_errors else EXIT_OK


def _epoch_of_captioned(report: "Report") -> str:
    """What an epoch sees where that is not each image once: repeats, and class images beside the others."""
    seen = report.splits["train"].per_class if "train" in report.splits else {}
    if report.classes or "instance" not in seen:
        return ""
    of_class = f" and {counted(seen['class'], 'class sample')}" if "class" in seen else ""
    is_plain = not of_class and seen["instance"] == report.splits["train"].samples
    return "" if is_plain else f"; an epoch sees {counted(seen['instance'], 'sample')}{of_class}"


@command(app)
def upload(
    session: Session,
    path: Annotated[Path, typer.Argument(help="A ZIP or other file, or a folder, which is sent as a ZIP.")],
    *,
    format: Format = "",
    name: Annotated[
        str,
        typer.Option(help="The dataset's id. Default: made from name and content.", show_default=False),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the server has checked it.")
    ] = True,
) -> int:
    """Upload a dataset. The same bytes are sent once; an upload that broke off goes on."""
    format = _format_of(session, path, format)
    with shown_transfers(session) as progress:
        dataset = session.client.datasets.upload(path, format=format, name=name, progress=progress)
    return _checked(session, dataset, wait=wait)


@command(app)
def without(
    session: Session,
    dataset: Name,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE…]",
            help="Files, or lines of texts, to leave out, as findings name them: cats/1.png, train.jsonl:17.",
            show_default=False,
        ),
    ] = None,
    *,
    code: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="Leave out every file or line with such a finding, e.g. DUPLICATE_IMAGE. May be repeated.",
            show_default=False,
        ),
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Leave out the files or lines that the findings in this JSON name: what `datasets check "
            "--json` or `datasets show --json` printed, or a part of it. - reads standard input.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="The version's id. Default: made by the server.", show_default=False)
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the server has checked it.")
    ] = True,
) -> int:
    """Make a version of a dataset without some files or lines. The dataset itself stays as it is."""
    dataset = stored_dataset(session, dataset)
    paths = list(files or ())
    if findings:
        found = _findings_in(findings)
        # Of texts single lines are left out; where it is a label that has lines, its image goes with it.
        by_line = any(line for _, line in found) and _is_of_lines(session, dataset)
        paths += [f"{path}:{line}" if by_line and line else path for path, line in found]
    if not paths and not code:
        raise UsageFailure("name files or lines, --code or --findings: there is nothing to leave out")
    version = session.client.datasets.without(dataset, paths=paths, codes=code or (), new_name=name)
    return _checked(session, version, wait=wait)


@command(app, "list")
def _list(
    session: Session,
    *,
    limit: Annotated[int, typer.Option(help="At most this many; 0 lists all.", min=0)] = 50,
) -> None:
    """List datasets, newest first."""
    datasets = session.client.datasets.list(limit=limit or None)
    if session.json:
        session.document({"datasets": datasets})
        return
    rows = [
        (
            plain(dataset.name.removeprefix("datasets/")),
            _state(dataset),
            word_of(dataset.format, DATASET_FORMATS),
            size(dataset.size_bytes),
            str(dataset.report.samples or ""),
            local_time(dataset.create_time),
            plain(dataset.display_name),
        )
        for dataset in datasets
    ]
    columns = ("dataset", "state", "format", "size", "samples", "created", "title")
    session.out.print(table(columns, rows, right=("size", "samples")))


@command(app)
def show(session: Session, dataset: Name) -> None:
    """Show one dataset with what was found in it."""
    found = session.client.datasets.get(stored_dataset(session, dataset))
    if session.json:
        session.document(found)
    else:
        _print(session, found)


@command(app)
def preview(
    session: Session,
    dataset: Name,
    *,
    base_model: Annotated[
        str, typer.Option(help="An id of `tuneyard models list`, or models/NAME.", metavar="MODEL")
    ],
    max_length: Annotated[
        int, typer.Option(help="Tokens of the longest sample. Default: recommended.", show_default=False)
    ] = 0,
    chat_template: Annotated[
        str,
        typer.Option(help="A built-in template's name. Default: the tokenizer's own.", show_default=False),
    ] = "",
    train_on: Annotated[str, typer.Option(help="assistant or all.", metavar="WHICH")] = "assistant",
    split: Annotated[str, typer.Option(help="train or val.", metavar="SPLIT")] = "train",
    rows: Annotated[int, typer.Option(help="How many rows to show.", min=1, max=50)] = 5,
    first: Annotated[int, typer.Option(help="The first row to show, from 1.", min=1)] = 1,
) -> None:
    """Show what a language model would train on: rows in its tokens, and what of them is learned."""
    task = training_pb2.LanguageModel(
        chat_template=chat_template, train_on=value_named("--train-on", train_on, _TRAIN_ON)
    )
    if max_length:
        task.max_length = max_length
    spec = training_pb2.TrainingSpec(
        dataset=stored_dataset(session, dataset), base_model=base_model, language_model=task
    )
    found = session.client.preview(spec, split=split, first_row=first - 1, max_rows=rows)
    if session.json:
        session.document(found)
    else:
        print_preview(session.out, found)


@command(app)
def delete(session: Session, dataset: Name) -> None:
    """Delete a dataset. Refused while a job that waits or runs uses it."""
    name = stored_dataset(session, dataset)
    session.client.datasets.delete(name)
    if session.json:
        session.document({"deleted": name})
    else:
        session.out.print(f"deleted {plain(name)}")


def _checked(session: Session, dataset: dataset_pb2.Dataset, *, wait: bool) -> int:
    """Shows a new dataset, when it is checked where that is to be waited for."""
    if wait:
        try:
            with session.err.status(f"{dataset.name} is being checked …"):
                dataset = session.client.datasets.wait_ready(dataset.name)
        except DatasetInvalid:
            dataset = session.client.datasets.get(dataset.name)
    if session.json:
        session.document(dataset)
    else:
        _print(session, dataset)
    return EXIT_FAILED if dataset.state == dataset_pb2.DATASET_STATE_INVALID else EXIT_OK


def _findings_in(file: Path) -> list[tuple[str, int]]:
    """The files and lines that findings name, in a report or a dataset as JSON, or in a list of findings."""
    try:
        value = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
        value = value.get("report", value) if isinstance(value, dict) else value
        found = value["findings"] if isinstance(value, dict) else value
        places = [(str(each["path"]), int(each.get("line") or 0)) for each in found if each.get("path")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageFailure(f"{file}: no findings in JSON ({error})") from error
    return list(dict.fromkeys(places))


def _is_of_lines(session: Session, dataset: str) -> bool:
    return session.client.datasets.get(dataset).format == dataset_pb2.DATASET_FORMAT_JSONL


def _format_of(session: Session, path: Path, named: str) -> str:
    """The format that was named, or the one that the files seem to have."""
    from tuneyard.datasets import guess_format

    if not path.exists():
        raise UsageFailure(f"{path}: there is no such file or folder")
    formats = ", ".join(DATASET_FORMATS)
    if named and named not in DATASET_FORMATS:
        raise UsageFailure(f"--format {named!r} is none of {formats}")
    if named:
        return named
    guess = guess_format(path)
    if guess is None:
        raise UsageFailure(f"{path}: nothing tells its format; name it: --format, one of {formats}")
    session.err.print(f"taken as --format {guess.format}: {plain(guess.seen)}")
    return guess.format


def _state(dataset: dataset_pb2.Dataset) -> str:
    word = enum_word(dataset_pb2.DatasetState.Name(dataset.state), "DATASET_STATE")
    style = {"READY": "green", "INVALID": "red"}.get(word, "default")
    return f"[{style}]{word}[/]"


def _excluded(dataset: dataset_pb2.Dataset) -> str:
    """What a version leaves out: "3 files", or "1 line"."""
    word = "line" if dataset.format == dataset_pb2.DATASET_FORMAT_JSONL else "file"
    count = len(dataset.report.excluded)
    return f"{count or 'some'} {word}" + "s" * (count != 1)


def _print(session: Session, dataset: dataset_pb2.Dataset) -> None:
    report = dataset.report
    session.out.print(f"{plain(dataset.name)} {_state(dataset)} {size(dataset.size_bytes)}")
    if dataset.parent:
        session.out.print(f"{plain(dataset.parent)} without {_excluded(dataset)}")
    shown = [
        Shown(
            enum_word(dataset_pb2.Severity.Name(each.severity), "SEVERITY"),
            each.code,
            path=each.path,
            line=each.line,
            message=each.message,
            remedy=each.remedy,
        )
        for each in report.findings
    ]
    print_findings(session.out, shown, counts=report.counts)
    rows = [
        (plain(split.split), str(split.samples), str(len(split.samples_per_class))) for split in report.splits
    ]
    if rows:
        columns = ("split", "samples", "classes")[: 3 if report.classes else 2]
        shown_rows = [row[: len(columns)] for row in rows]
        session.out.print(table(columns, shown_rows, right=columns[1:]))
