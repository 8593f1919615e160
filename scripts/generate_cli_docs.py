"""Writes docs/cli.md from the commands themselves. A test says when that was forgotten."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from tuneyard.cli.main import app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

_HEAD = """# The command line

`tuneyard COMMAND --help` says the same. Written by `scripts/generate_cli_docs.py`; do not edit.

Every command takes `--server HOST:PORT` (default: `$TUNEYARD_SERVER`, else 127.0.0.1:50051) and `--json`.
With `--json`, standard output holds JSON alone: one document, for `watch` an event a line in proto3 JSON, for
a followed `train` the events and then the job; an error is a document
`{"error": {"reason", "message", "violations", "remedies"}}`. Everything else goes to standard error.
`$TUNEYARD_TOKEN` is sent as bearer token.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | the job or check failed, or the server refused |
| 2 | wrong usage, or values that the server finds invalid |
| 3 | the server cannot be reached |
| 130 | interrupted; a job that was followed goes on |

`tuneyard --install-completion` completes commands and options in bash, zsh, fish and PowerShell.
"""

_SHARED = frozenset({"--help", "--server", "--json"})


def text() -> str:
    """The page."""
    return _HEAD + "".join(_sections(get_command(app), "tuneyard"))


def _sections(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children:
        for name, child in children.items():
            yield from _sections(child, f"{path} {name}")
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([path, *(_argument(argument) for argument in arguments)])
    yield f"\n## `{usage}`\n\n{command.help.strip()}\n"
    options = [p for p in command.params if p.param_type_name == "option" and not _SHARED & set(p.opts)]
    if options:
        yield "\n| option | meaning |\n|---|---|\n"
        yield from (_row(option) for option in options)


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required else f"[{name}]"


def _row(option: Any) -> str:
    names = " / ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    metavar = f" {option.metavar}" if option.metavar else ""
    required = " Required." if option.required else ""
    meaning = " ".join((option.help or "").replace("|", "\\|").split())
    return f"| {names}{metavar.replace('|', ' or ')} | {meaning}{required} |\n"


if __name__ == "__main__":
    TARGET.write_text(text())
