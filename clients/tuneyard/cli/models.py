"""`tuneyard models …`: what jobs can start from, and the models kept in the store."""

from pathlib import Path
from typing import Annotated

import typer

from tuneyard.cli.command import command, value_named
from tuneyard.cli.families import family_of_source, refuse_absent
from tuneyard.cli.formats import enum_word, facts, local_time, plain, size, table
from tuneyard.cli.session import Session
from tuneyard.cli.transfers import shown_transfers
from tuneyard.client.errors import ModelNotFound, SourceNotAllowed
from tuneyard.client.words import FAMILIES, TASKS, word_of
from tuneyard.v1 import model_service_pb2, training_pb2
from tuneyard.v1.model_service_pb2 import BaseModel, Model

app = typer.Typer(no_args_is_help=True, help="List, import, show and delete models.")

Name = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id or name.")]


@command(app, "list")
def _list(
    session: Session,
    *,
    family: Annotated[
        str, typer.Option(help=f"Only this family: {', '.join(FAMILIES)}.", show_default=False)
    ] = "",
    task: Annotated[
        str, typer.Option(help=f"Only for this task: {', '.join(TASKS)}.", show_default=False)
    ] = "",
) -> None:
    """List what jobs can start from: the catalogue, recommended ones first, and the store."""
    wanted = value_named("--family", family, FAMILIES) if family else training_pb2.FAMILY_UNSPECIFIED
    trained = value_named("--task", task, TASKS) if task else training_pb2.TASK_KIND_UNSPECIFIED
    base_models = session.client.models.base_models(family=wanted, task=trained)
    models = session.client.models.list(family=wanted)
    if session.json:
        session.document({"baseModels": base_models, "models": models})
        return
    rows = [
        (
            plain(each.id) + (" [green]recommended[/]" if each.is_recommended else ""),
            word_of(each.family, FAMILIES),
            f"{each.parameter_count / 1e6:.1f} M" if each.parameter_count else "",
            _availability(each),
            plain(each.description),
        )
        for each in base_models
    ]
    session.out.print(
        table(("base model", "family", "weights", "availability", ""), rows, right=("weights",))
    )
    if models:
        session.out.print()
        columns = ("in the store", "state", "family", "architecture", "size", "created")
        session.out.print(table(columns, map(_row, models)))
        for each in models:
            if each.state == model_service_pb2.MODEL_STATE_FAILED:
                name = plain(each.name.removeprefix("models/"))
                session.out.print(f"[red]{name} failed:[/] {plain(each.error)}")
                session.out.print("  → import it again under the same name, or delete it")


@command(app, "import")
def import_(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_HUB_ID",
            help="A file or folder here, which is uploaded, an absolute path of the server below an allowed "
            "root, a hub id, or a base model of the list that comes from a hub.",
        ),
    ],
    *,
    family: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(FAMILIES)}. Default: told from the files.", show_default=False),
    ] = "",
    name: Annotated[str, typer.Option(help="The model's id.", show_default=False)] = "",
    revision: Annotated[str, typer.Option(help="The hub's commit hash.", show_default=False)] = "",
    architecture: Annotated[
        str,
        typer.Option(help="Where the files do not tell it, such as resnet50.", show_default=False),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is there.")] = True,
) -> None:
    """Bring a model into the store: its files are checked, and nothing in them is executed.

    Named like its architecture or like a base model of the list, as in `--name resnet50`, it is what jobs get
    that name it.
    """
    path, model = Path(source), None
    if family:
        number = value_named("--family", family, FAMILIES)
        refuse_absent(source)
    else:
        number = family_of_source(session, source)
    if not path.is_file() and not (path.is_dir() and not path.is_absolute()):
        try:
            model = session.client.models.import_(
                source, family=number, name=name, architecture=architecture, revision=revision
            )
        except SourceNotAllowed:
            if not path.is_dir():
                raise
    if model is None:
        with shown_transfers(session) as progress:
            model = session.client.models.upload(
                source, family=number, name=name, architecture=architecture, progress=progress
            )
    if wait:
        with session.err.status(f"{model.name} is being imported …"):
            model = session.client.models.wait_ready(model.name)
    _print(session, model)


@command(app)
def show(session: Session, model: Name) -> None:
    """Show one model of the store, or one that jobs can start from."""
    try:
        found = session.client.models.get(model)
    except ModelNotFound:
        for each in session.client.models.base_models():
            if each.id == model:
                _print_base(session, each)
                return
        raise
    _print(session, found)


@command(app)
def delete(session: Session, model: Name) -> None:
    """Delete a model. Refused while a job that waits or runs uses it."""
    session.client.models.delete(model)
    if session.json:
        session.document({"deleted": model})
    else:
        session.out.print(f"deleted {plain(model)}")


def _row(model: Model) -> tuple[str, ...]:
    return (
        plain(model.name.removeprefix("models/")),
        enum_word(model_service_pb2.ModelState.Name(model.state), "MODEL_STATE"),
        word_of(model.family, FAMILIES),
        plain(model.architecture),
        size(model.size_bytes),
        local_time(model.create_time),
    )


def _print_base(session: Session, model: BaseModel) -> None:
    if session.json:
        session.document(model)
        return
    pairs = [
        ("base model", plain(model.id)),
        ("family", word_of(model.family, FAMILIES)),
        ("description", plain(model.description)),
        ("weights", f"{model.parameter_count / 1e6:.1f} M" if model.parameter_count else ""),
        ("memory", _device_memory(model)),
        ("availability", _availability(model)),
        ("settings", _settings(model.recommended)),
        ("licence", plain(model.license)),
    ]
    session.out.print(facts(pairs))


def _availability(model: BaseModel) -> str:
    if model.model:
        return f"in the store: {plain(model.model)}"
    name = model_service_pb2.Availability.Name(model.availability)
    return enum_word(name, "AVAILABILITY").lower().replace("_", " ")


def _device_memory(model: BaseModel) -> str:
    if not model.minimum_memory_bytes:
        return ""
    return f"at least {size(model.minimum_memory_bytes)}, better {size(model.recommended_memory_bytes)}"


def _settings(spec: training_pb2.TrainingSpec) -> str:
    hyper, task = spec.hyperparameters, spec.WhichOneof("task")
    side = getattr(getattr(spec, task), "image_size", 0) if task else 0
    parts = (
        ("epochs", hyper.epochs),
        ("batch", hyper.batch_size),
        ("learning rate", f"{hyper.learning_rate:g}" if hyper.learning_rate else ""),
        ("image size", f"{side} px" if side else ""),
    )
    return ", ".join(f"{name} {value}" for name, value in parts if value)


def _print(session: Session, model: Model) -> None:
    if session.json:
        session.document(model)
        return
    pairs = [
        ("model", plain(model.name)),
        ("state", enum_word(model_service_pb2.ModelState.Name(model.state), "MODEL_STATE")),
        ("family", word_of(model.family, FAMILIES)),
        ("architecture", plain(model.architecture)),
        ("content", plain(model.detail)),
        ("usable for", ", ".join(word_of(task, TASKS) for task in model.tasks)),
        ("source", plain(model.source)),
        ("revision", plain(model.revision)),
        ("size", size(model.size_bytes)),
        ("SHA-256", model.sha256),
        ("error", plain(model.error)),
    ]
    session.out.print(facts(pairs))
