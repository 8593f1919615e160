"""`export`, `merge`, `evaluate`: jobs made from a finished job."""

from pathlib import Path
from typing import Annotated

import typer

from tuneyard.cli.artifacts import Output, fetch
from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.follow import follow_to_success
from tuneyard.cli.jobs import JobName
from tuneyard.cli.session import Session
from tuneyard.cli.train import Watch, created
from tuneyard.client.words import EXPORT_FORMATS
from tuneyard.v1.job_pb2 import EvaluateSpec, ExportSpec, MergeSpec


def add_to(root: typer.Typer) -> None:
    """Adds the commands to the root."""
    command(root)(export)
    command(root)(merge)
    command(root)(evaluate)


def export(
    session: Session,
    job: JobName,
    *,
    to: Annotated[
        str, typer.Option(help=f"One of {', '.join(EXPORT_FORMATS)}.", metavar="FORMAT")
    ] = "safetensors",
    output: Output,
) -> None:
    """Convert a finished job's model to another format, and download it."""
    if to not in EXPORT_FORMATS:
        raise UsageFailure(f"--to {to!r} is none of {', '.join(EXPORT_FORMATS)}")
    spec = ExportSpec(source_job=_full(job), format=EXPORT_FORMATS[to])
    exporting = session.client.export(spec)
    quiet = Session(server=session.server, token=session.token, json=False, out=session.err, err=session.err)
    try:
        follow_to_success(quiet, exporting.name)
    finally:
        quiet.close()
    fetch(session, exporting.name, Path(output))


def merge(
    session: Session,
    job: JobName,
    *,
    output_path: Annotated[
        str,
        typer.Option(help="Where the server stores it. Default: the job's artifacts.", show_default=False),
    ] = "",
    watch: Watch = None,
) -> int:
    """Merge a finished job's adapter into its base model."""
    spec = MergeSpec(source_job=_full(job), output_path=output_path)
    return created(session, session.client.merge(spec).name, watch=watch)


def evaluate(
    session: Session,
    job: JobName,
    *,
    dataset: Annotated[
        str, typer.Option(help="Default: the one that the job was trained on.", show_default=False)
    ] = "",
    split: Annotated[
        str, typer.Option(help="test, val or train. Default: test where there is one.", show_default=False)
    ] = "",
    watch: Watch = None,
) -> int:
    """Measure a finished job's model on held-out data."""
    if dataset and "/" not in dataset:
        dataset = f"datasets/{dataset}"
    spec = EvaluateSpec(source_job=_full(job), dataset=dataset, split=split)
    return created(session, session.client.evaluate(spec).name, watch=watch)


def _full(job: str) -> str:
    return job if "/" in job else f"jobs/{job}"
