"""Shows uploads and downloads as they go."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tuneyard.cli.session import Session
from tuneyard.client import ProgressCallback, Transfer


@contextmanager
def shown_transfers(session: Session) -> Iterator[ProgressCallback]:
    """A progress callback that draws a bar per file on standard error, if that is a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=session.err, disable=not session.err.is_terminal) as progress:
        tasks: dict[str, object] = {}

        def tell(transfer: Transfer) -> None:
            if transfer.name not in tasks:
                tasks[transfer.name] = progress.add_task(transfer.name, total=transfer.total_bytes or None)
            progress.update(tasks[transfer.name], completed=transfer.done_bytes)  # type: ignore[arg-type]

        yield tell
