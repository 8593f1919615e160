"""`tuneyard artifacts …`: what jobs leave behind."""

from pathlib import Path
from typing import Annotated

import typer

from tuneyard.cli.command import command
from tuneyard.cli.formats import enum_word, plain, size, table
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.cli.transfers import shown_transfers
from tuneyard.v1 import event_pb2

app = typer.Typer(no_args_is_help=True, help="List and download what jobs leave behind.")

Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.", metavar="DIR")]


@command(app, "list")
def _list(session: Session, job: JobName) -> None:
    """List a job's artifacts."""
    artifacts = session.client.artifacts.list(job)
    if session.json:
        session.document({"artifacts": artifacts})
        return
    rows = [
        (
            plain(each.path),
            enum_word(event_pb2.ArtifactKind.Name(each.kind), "ARTIFACT_KIND").lower(),
            size(each.size_bytes),
            plain(each.description),
        )
        for each in artifacts
    ]
    session.out.print(table(("path", "kind", "size", ""), rows, right=("size",)))


@command(app)
def download(
    session: Session,
    job: JobName,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Artifacts, or folders of them. Default: all.", metavar="PATH…")
    ] = None,
    *,
    output: Output,
) -> None:
    """Download a job's artifacts. What is there already is not fetched again."""
    fetch(session, job, output, paths=paths)


def fetch(session: Session, job: str, output: Path, *, paths: list[str] | None = None) -> None:
    """Downloads artifacts and says where they are."""
    with shown_transfers(session) as progress:
        files = session.client.artifacts.download(job, output, paths=paths, progress=progress)
    if session.json:
        session.document({"job": job, "files": [str(file) for file in files]})
        return
    for file in files:
        session.out.print(f"{plain(str(file))}  [dim]{size(file.stat().st_size)}[/]")
