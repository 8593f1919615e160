"""Turns functions into commands: with the options that all have, and every error ending in an exit code.

A command's function takes a `Session` first; the rest of its signature is what typer makes of it.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.markup import escape

from tuneyard.cli.session import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    Session,
)
from tuneyard.client import InvalidRequest, JobFailed, ServerUnreachable, TuneyardError
from tuneyard.client.config import default_server, default_token

ValueT = TypeVar("ValueT", bound=int)

PANEL = "Connection and output"

Server = Annotated[
    str | None,
    typer.Option(
        help=f"The gateway, HOST:PORT. Default: $TUNEYARD_SERVER, else {default_server({})}.",
        metavar="HOST:PORT",
        rich_help_panel=PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write JSON to standard output, everything else to standard error.",
        rich_help_panel=PANEL,
    ),
]


# What a person can do next, where the reason tells it; {id} is that of what the error is about.
_HINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "JOB_NOT_FOUND": ("see all: tuneyard jobs list --limit 0",),
    "DATASET_NOT_FOUND": ("see all: tuneyard datasets list --limit 0",),
    "MODEL_NOT_FOUND": ("see all: tuneyard models list",),
    "ARTIFACT_NOT_FOUND": ("see all: tuneyard artifacts list JOB",),
    "ALREADY_EXISTS": ("take another name, or delete what is there",),
    "DATASET_INVALID": ("see all findings: tuneyard datasets show {id}",),
    "UNAUTHENTICATED": ("set TUNEYARD_TOKEN to the server's token",),
}


class Failure(Exception):
    """A command ends badly; the message is for people, and says what to do."""

    def __init__(self, message: str, *, code: int = EXIT_FAILED, hints: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.hints = hints


class UsageFailure(Failure):
    """The command was given something that cannot be."""

    def __init__(self, message: str, *, hints: tuple[str, ...] = ()) -> None:
        super().__init__(message, code=EXIT_USAGE, hints=hints)


def value_named(option: str, word: str, table: Mapping[str, ValueT]) -> ValueT:
    """The number for the word of an option; UsageFailure names the words that there are."""
    if word not in table:
        raise UsageFailure(f"{option} {word!r} is none of {', '.join(table)}")
    return table[word]


def command(
    app: typer.Typer, name: str | None = None, **settings: Any
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Registers a function as a command of `app`. It may return an exit code."""

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        app.command(name, **settings)(_runnable(function))
        return function

    return register


def _runnable(function: Callable[..., int | None]) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        inspect.Parameter("server", keyword, default=None, annotation=Server),
        inspect.Parameter("json", keyword, default=False, annotation=Json),
    ]

    def run(**arguments: Any) -> None:
        ctx: typer.Context = arguments.pop("ctx")
        inherited: Session = ctx.obj if isinstance(ctx.obj, Session) else Session()
        session = Session(
            server=arguments.pop("server") or inherited.server,
            token=default_token(),
            json=arguments.pop("json") or inherited.json,
        )
        code = _guarded(session, lambda: function(session, **arguments))
        if code:
            raise typer.Exit(code)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _guarded(session: Session, call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except KeyboardInterrupt:
        session.err.print("interrupted")
        return EXIT_INTERRUPTED
    except Failure as failure:
        report(session, str(failure), hints=failure.hints)
        return failure.code
    except TuneyardError as error:
        return _report_error(session, error)
    except (OSError, ValueError) as error:
        report(session, str(error))
        return EXIT_FAILED
    finally:
        session.close()


def _report_error(session: Session, error: TuneyardError) -> int:
    if isinstance(error, ServerUnreachable):
        hints: tuple[str, ...] = (
            "start it with: tuneyard up",
            "or name another one: --server HOST:PORT, or TUNEYARD_SERVER",
        )
        report(session, error.message, error=error, hints=hints)
        return EXIT_UNREACHABLE
    hints = error.remedies if isinstance(error, JobFailed) else _hints(error)
    if error.retry_after is not None:
        hints = (*hints, f"try again in {error.retry_after.total_seconds():.0f} s")
    report(session, error.message, error=error, hints=hints)
    return EXIT_USAGE if isinstance(error, InvalidRequest) else EXIT_FAILED


def _hints(error: TuneyardError) -> tuple[str, ...]:
    about = (error.resource or "").rpartition("/")[2]
    return tuple(hint.replace("{id}", about or "DATASET") for hint in _HINTS.get(error.reason, ()))


def report(
    session: Session, message: str, *, error: TuneyardError | None = None, hints: tuple[str, ...] = ()
) -> None:
    """Says what went wrong, to people, and with --json as a document too."""
    violations = error.violations if error is not None else ()
    if session.json:
        session.document(
            {
                "error": {
                    "reason": error.reason if error is not None else "",
                    "message": message,
                    "violations": [
                        {"field": violation.field, "description": violation.description}
                        for violation in violations
                    ],
                    "remedies": list(hints),
                }
            }
        )
    # A message of a few violations is these violations in one line.
    listed = violations if isinstance(error, InvalidRequest) or len(violations) > 1 else ()
    text = "the request breaks these rules" if listed else message
    session.err.print(f"[bold red]error:[/] {escape(text)}")
    for violation in listed:
        session.err.print(f"  [bold]{escape(violation.field)}[/]: {escape(violation.description)}")
    for hint in hints:
        session.err.print(f"  → {escape(hint)}")
