"""`tuneyard doctor`: is this machine fit, and is what runs on it well?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tuneyard.cli import checks
from tuneyard.cli.checks import Check
from tuneyard.cli.command import command
from tuneyard.cli.config import data_folder, database_url, s3_endpoint, service_environment, store_url
from tuneyard.cli.formats import plain
from tuneyard.cli.session import EXIT_FAILED, EXIT_OK, Session
from tuneyard.client import ConnectionSettings

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[bold red]failed[/] "}


def add_to(root: typer.Typer) -> None:
    """Adds the command to the root."""
    command(root)(doctor)


def doctor(
    session: Session,
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="As for `tuneyard up`.", metavar="DIR", show_default=False),
    ] = None,
    store: Annotated[str, typer.Option(help="As for `tuneyard up`.", metavar="URL", show_default=False)] = "",
    database: Annotated[
        str, typer.Option(help="As for `tuneyard up`.", metavar="URL", show_default=False)
    ] = "",
) -> int:
    """Check Python, extras, devices, disk, memory, ports, store, database, server. Exit 1 when one fails."""
    found = []
    for check in _checks(session, data_folder(data_dir), store=store, database=database):
        found.append(check)
        if not session.json:
            session.out.print(f"{_MARKS[check.state]}  [bold]{check.name}[/]  {plain(check.detail)}")
            if check.remedy:
                session.out.print(f"           → {plain(check.remedy)}")
    is_well = all(check.state != "failed" for check in found)
    if session.json:
        session.document({"ok": is_well, "checks": [vars(check) for check in found]})
    return EXIT_OK if is_well else EXIT_FAILED


def _checks(session: Session, data: Path, *, store: str, database: str) -> Iterator[Check]:
    yield checks.check_python()
    yield from checks.check_extras()
    yield checks.check_devices(service_environment())
    yield checks.check_disk(data)
    yield checks.check_shared_memory()
    yield checks.check_ports(session.server)
    yield checks.check_store(store_url(store, data), s3_endpoint())
    yield checks.check_database(database_url(database, data))
    yield from checks.check_server(ConnectionSettings(server=session.server, token=session.token, retries=0))
