"""`export`, `merge`, `evaluate`: jobs made from a finished job."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tuneyard.cli.artifacts import Output, fetch
from tuneyard.cli.command import UsageFailure, command, value_named
from tuneyard.cli.dataset_names import dataset_name
from tuneyard.cli.follow import follow_to_success
from tuneyard.cli.formats import plain
from tuneyard.cli.jobs import JobName
from tuneyard.cli.reports import print_report
from tuneyard.cli.session import EXIT_OK, Session
from tuneyard.cli.spec_options import TASK_FIELDS, TASK_FORMATS
from tuneyard.cli.train import Watch, created
from tuneyard.cli.transfers import shown_transfers
from tuneyard.client.words import EXPORT_FORMATS
from tuneyard.v1.job_pb2 import JOB_STATE_SUCCEEDED, EvaluateSpec, ExportSpec, Job, MergeSpec
from tuneyard.v1.training_pb2 import FINE_TUNING_METHOD_FULL


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
        str,
        typer.Option(
            help=f"One of {', '.join(EXPORT_FORMATS)}. Default: adapter where the job trained one, else"
            " safetensors.",
            metavar="FORMAT",
            show_default=False,
        ),
    ] = "",
    output: Output,
) -> None:
    """Convert a finished job's model to another format, and download it."""
    to = to or ("adapter" if _has_adapter(session.client.jobs.get(job)) else "safetensors")
    spec = ExportSpec(source_job=_full(job), format=value_named("--to", to, EXPORT_FORMATS))
    exporting = session.client.export(spec)
    _wait(session, exporting.name)
    fetch(session, exporting.name, Path(output))


def merge(
    session: Session,
    job: JobName,
    *,
    output_path: Annotated[
        str,
        typer.Option(
            help="A name in the store, such as models/merged, from which jobs can start; or a new folder of "
            "the server below an allowed root. Default: the job's artifacts.",
            show_default=False,
        ),
    ] = "",
    watch: Watch = None,
) -> int:
    """Merge a finished job's adapter into its base model, and prove that nothing was lost."""
    spec = MergeSpec(source_job=_full(job), output_path=output_path)
    merging = session.client.merge(spec).name
    code = created(session, merging, watch=watch)
    stored = output_path.removeprefix("/").removeprefix("models/")
    if stored and "/" not in stored and session.client.jobs.get(merging).state == JOB_STATE_SUCCEEDED:
        with session.err.status(f"models/{stored} is being imported …"):
            session.client.models.wait_ready(stored)
        session.people.print(f"stored as models/{plain(stored)}")
    return code


def evaluate(
    session: Session,
    job: JobName,
    *,
    dataset: Annotated[
        str,
        typer.Option(
            help="An id, a name, or a file or folder here, which is uploaded. Default: the one that the job"
            " was trained on.",
            show_default=False,
        ),
    ] = "",
    split: Annotated[
        str,
        typer.Option(
            help="test, val or train. Default: test where there is one, else what was held out.",
            show_default=False,
        ),
    ] = "",
    base: Annotated[
        bool, typer.Option("--base/--no-base", help="Measure the base model too, where that says something.")
    ] = True,
    clip_model: Annotated[
        str,
        typer.Option(
            help="A CLIP model of the store that scores a text-to-image LoRA's pictures. Default: that of the"
            " training.",
            show_default=False,
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Download the report with its pictures to this folder.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Only create the job.")] = False,
) -> int:
    """Measure a finished job's model on held-out data, and show the result."""
    if dataset:
        dataset = dataset_name(session, dataset, lambda: _format(session, _full(job)), checked=True)
    if clip_model and "/" not in clip_model:
        clip_model = f"models/{clip_model}"
    spec = EvaluateSpec(
        source_job=_full(job), dataset=dataset, split=split, compare_with_base=base, clip_model=clip_model
    )
    name = session.client.evaluate(spec).name
    if detach:
        return created(session, name, watch=False)
    _wait(session, name)
    report = json.loads(session.client.artifacts.read(name, "report.json"))
    files: Sequence[Path] = ()
    if output is not None:
        with shown_transfers(session) as progress:
            files = session.client.artifacts.download(name, output, progress=progress)
    if session.json:
        session.document({"job": name, "report": report, "files": [str(file) for file in files]})
    else:
        print_report(session.out, report)
        page = next((str(file) for file in files if file.name == "report.html"), "")
        where = plain(page) or f"tuneyard artifacts download {name.removeprefix('jobs/')} -o DIR"
        session.out.print(f"\nreport: {where}")
    return EXIT_OK


def _wait(session: Session, name: str) -> None:
    """Follows a job on standard error until it has succeeded."""
    quiet = Session(server=session.server, token=session.token, json=False, out=session.err, err=session.err)
    try:
        follow_to_success(quiet, name)
    finally:
        quiet.close()


def _has_adapter(job: Job) -> bool:
    """Whether a job's model is weights beside its base's."""
    spec = job.spec.training
    match spec.WhichOneof("task"):
        case "language_model":
            return spec.language_model.method != FINE_TUNING_METHOD_FULL
        case "text_to_image_lora":
            return True
        case _:
            return False


def _format(session: Session, job: str) -> str:
    """The format of the datasets that a job's model is trained on."""
    kind = session.client.jobs.get(job).spec.training.WhichOneof("task")
    if kind is None:
        raise UsageFailure(f"{job} is no training: there is no model to be evaluated")
    return next(TASK_FORMATS[task] for task, field in TASK_FIELDS.items() if field == kind)


def _full(job: str) -> str:
    return job if "/" in job else f"jobs/{job}"
