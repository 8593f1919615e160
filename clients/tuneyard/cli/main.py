"""`tuneyard`: all commands put together.

Exit codes: 0 success, 1 the job or check failed, 2 wrong usage, 3 server unreachable, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import typer
from typer.core import TyperGroup

from tuneyard.cli import (
    artifacts,
    chat,
    datasets,
    doctor,
    inference,
    jobs,
    models,
    predict,
    results,
    train,
    trainers,
    up,
)
from tuneyard.cli.command import Json, Server, report
from tuneyard.cli.session import EXIT_INTERRUPTED, EXIT_USAGE, Session
from tuneyard.client.config import default_server, default_token


class _Root(TyperGroup):
    """Writes wrong usage as a document too, where JSON is wanted."""

    def main(self, args: Sequence[str] | None = None, **settings: Any) -> Any:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        if "--json" not in words or not settings.get("standalone_mode", True):
            return super().main(args, **settings)
        try:
            code = super().main(words, **{**settings, "standalone_mode": False})
        except Exception as error:
            # By its shape: some releases of typer bring a click of their own.
            explain = getattr(error, "format_message", None)
            if explain is None:
                raise
            report(Session(json=True), explain())
            code = EXIT_USAGE
        raise SystemExit(code)


app = typer.Typer(
    cls=_Root,
    name="tuneyard",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train and fine-tune models as a service, on your own machines.",
    epilog="Exit codes: 0 success, 1 the job or check failed, 2 wrong usage, 3 server unreachable, "
    "130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tuneyard {version('tuneyard')}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    *,
    server: Server = None,
    json: Json = False,
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    ctx.obj = Session(server=server or default_server(), token=default_token(), json=json)


up.add_to(app)
doctor.add_to(app)
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(train.estimate_app, name="estimate")
app.add_typer(train.train_app, name="train")
jobs.add_watch(app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(artifacts.app, name="artifacts")
results.add_to(app)
predict.add_to(app)
inference.add_to(app)
chat.add_to(app)
trainers.add_to(app)


def main() -> None:
    """Runs the command line and exits."""
    # gRPC's own log tells programmers of connections that come and go, which our messages do in words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
