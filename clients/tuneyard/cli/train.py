"""`tuneyard train TASK` and `tuneyard estimate TASK`: the whole typed spec as options."""

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tuneyard.cli.command import UsageFailure, command
from tuneyard.cli.dataset_names import dataset_name
from tuneyard.cli.estimates import print_estimate
from tuneyard.cli.follow import follow
from tuneyard.cli.methods import methods_table, of_each_method
from tuneyard.cli.session import EXIT_FAILED, EXIT_OK, Session
from tuneyard.cli.spec_options import TASK_FIELDS, TASK_FORMATS, build_spec, options_of
from tuneyard.v1.training_pb2 import TrainingSpec

train_app = typer.Typer(no_args_is_help=True, help="Train a model: tuneyard train TASK --dataset …")
estimate_app = typer.Typer(
    no_args_is_help=True, help="Predict memory, disk and time of a training job; create nothing."
)

_JOB = "Job"

Dataset = Annotated[
    str,
    typer.Option(
        help="A dataset of the server, by id or title, or else a ZIP or folder here, which is uploaded "
        "first. datasets/ID always means the server's, ./NAME the one here.",
        metavar="NAME_OR_PATH",
    ),
]
BaseModel = Annotated[
    str, typer.Option(help="An id of `tuneyard models list`, or models/NAME.", metavar="MODEL")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Any field of the spec by path, its value as JSON: hyperparameters.epochs=3. "
        "May be given several times.",
        metavar="PATH=VALUE",
    ),
]
Watch = Annotated[
    bool | None,
    typer.Option(
        "--watch/--detach",
        help="Follow the job, or only create it. Default: follow on a terminal and with --json.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]


def _train(
    session: Session,
    *,
    task: str,
    dataset: Dataset,
    base_model: BaseModel,
    settings: Settings = [],  # noqa: B006 - typer copies it
    label: Annotated[
        list[str],
        typer.Option(help="A label of the job.", metavar="NAME=VALUE", rich_help_panel=_JOB),
    ] = [],  # noqa: B006
    priority: Annotated[
        int, typer.Option(help="Higher goes first; age decides among equals.", rich_help_panel=_JOB)
    ] = 0,
    request_id: Annotated[
        str,
        typer.Option(
            help="The same id with the same request makes one job, however often it is sent.",
            metavar="ID",
            rich_help_panel=_JOB,
            show_default=False,
        ),
    ] = "",
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything; create nothing.", rich_help_panel=_JOB)
    ] = False,
    watch: Watch = None,
    **values: Any,
) -> int:
    labels = dict(label_of(text) for text in label)
    spec = _spec(session, task, dataset=dataset, base_model=base_model, settings=settings, values=values)
    job = session.client.train(
        spec, request_id=request_id, labels=labels, priority=priority, validate_only=validate_only
    )
    if validate_only:
        if session.json:
            session.document(job.snapshot)
        session.people.print("[green]The job would be accepted.[/]")
        return EXIT_OK
    return created(session, job.name, watch=watch)


def _estimate(
    session: Session,
    *,
    task: str,
    dataset: Dataset,
    base_model: BaseModel,
    settings: Settings = [],  # noqa: B006 - typer copies it
    **values: Any,
) -> int:
    # Nothing can be predicted from a dataset that was just uploaded before it is checked.
    spec = _spec(
        session, task, dataset=dataset, base_model=base_model, settings=settings, values=values, checked=True
    )
    estimate = session.client.estimate(spec)
    if session.json:
        session.document(estimate)
    else:
        methods = of_each_method(spec, estimate, session.client.estimate) if task == "llm" else []
        print_estimate(session.out, estimate)
        if len(methods) > 1:
            session.out.print()
            session.out.print(methods_table(methods, chosen=estimate))
    return EXIT_FAILED if estimate.violations or not estimate.fits else EXIT_OK


def created(session: Session, name: str, *, watch: bool | None) -> int:
    """What follows the creation of a job: follow it, or say how to. Returns the exit code."""
    if watch is None:
        watch = session.json or session.is_terminal
    if watch:
        session.people.print(f"created {name}")
        return follow(session, name, end_with_job=True)
    job = session.client.jobs.get(name)
    if session.json:
        session.document(job)
    else:
        watch_it = f"tuneyard watch {name.removeprefix('jobs/')}{session.server_option}"
        session.out.print(f"created {name}\n  → {watch_it}")
    return EXIT_OK


def _spec(
    session: Session,
    task: str,
    *,
    dataset: str,
    base_model: str,
    settings: Sequence[str],
    values: dict[str, Any],
    checked: bool = False,
) -> TrainingSpec:
    # Before the upload, which may take long: what is wrong with the options shows at once.
    spec = build_spec(
        task, dataset="datasets/unknown", base_model=base_model, values=values, settings=settings
    )
    if not spec.HasField(TASK_FIELDS[task]):  # type: ignore[arg-type]
        raise UsageFailure(f"--set gives the spec another task than {task}")

    def format() -> str:
        return TASK_FORMATS[task]

    spec.dataset = dataset_name(session, dataset, format, checked=checked)
    if held_out := spec.data_split.validation_dataset:
        spec.data_split.validation_dataset = dataset_name(
            session, held_out, format, option="--validation-dataset", checked=True
        )
    return spec


def label_of(text: str) -> tuple[str, str]:
    """The name and value of a --label; UsageFailure where it is no such pair."""
    name, found, value = text.partition("=")
    if not found:
        raise UsageFailure(f"--label {text!r} must look like NAME=VALUE")
    return name, value


def _register(app: typer.Typer, function: Any, task: str) -> None:
    """Adds the command of one TASK: the function's own options and those of the task's spec."""

    def run(session: Session, **arguments: Any) -> int:
        code: int = function(session, task=task, **arguments)
        return code

    own = [
        parameter
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.name != "task" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    spec = [option.parameter for option in options_of(task)]
    run.__signature__ = inspect.Signature([*own, *spec])  # type: ignore[attr-defined]
    run.__name__ = task
    command(app, task, help=_HELP[task])(run)


_HELP = {
    "image-classifier": "Train an image classifier: any classification architecture of torchvision.",
    "object-detector": "Train an object detector of the YOLO families.",
    "text-to-image-lora": "Train LoRA weights of a text-to-image model.",
    "llm": "Fine-tune a language model: full, LoRA or QLoRA.",
}

for _task in TASK_FIELDS:
    _register(train_app, _train, _task)
    _register(estimate_app, _estimate, _task)
