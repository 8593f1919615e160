"""Datasets as people call them: by id, by title, or by a file or folder here, which is uploaded."""

from collections.abc import Callable
from pathlib import Path

from tuneyard.cli.command import UsageFailure
from tuneyard.cli.formats import plain
from tuneyard.cli.session import Session
from tuneyard.cli.transfers import shown_transfers
from tuneyard.client.errors import DatasetNotFound, InvalidRequest

_LISTED = 5


def stored_dataset(session: Session, dataset: str, *, at: str = "") -> str:
    """The name of the server's dataset of that id or title; what was given, where there is none.

    UsageFailure, which begins with the option that it stood `at`, if several have that title.
    """
    found = [each.name for each in session.client.datasets.named(dataset)]
    if len(found) > 1:
        subject = f"{at} {dataset!r}".lstrip()
        raise UsageFailure(f"{subject} is the title of {', '.join(found[:_LISTED])}: name one of them")
    return found[0] if found else f"datasets/{dataset.removeprefix('datasets/')}"


def dataset_name(
    session: Session, dataset: str, format: Callable[[], str], *, option: str = "--dataset", checked: bool
) -> str:
    """The server's name of a dataset; a file here is uploaded first and, if `checked`, waited for. Its format
    is asked for then.
    """
    if dataset.startswith("datasets/") and dataset.count("/") == 1:
        return dataset
    path = Path(dataset)
    is_path = "/" in dataset or path.suffix.lower() in (".zip", ".jsonl", ".gz")
    if path.exists() and (is_path or not _is_there(session, dataset)):
        with shown_transfers(session) as progress:
            uploaded = session.client.datasets.upload(path, format=format(), progress=progress)
        session.people.print(f"dataset {uploaded.name}")
        if checked:
            with session.err.status(f"{uploaded.name} is being checked …"):
                session.client.datasets.wait_ready(uploaded.name)
        return uploaded.name
    if is_path:
        raise UsageFailure(f"{option} {dataset!r}: there is no such file or folder")
    return stored_dataset(session, dataset, at=option)


def _is_there(session: Session, name: str) -> bool:
    """Whether the server has a dataset of the id that a file or folder here is called."""
    try:
        found = session.client.datasets.get(name)
    except (DatasetNotFound, InvalidRequest):
        return False
    session.people.print(f"dataset {found.name} of the server; ./{plain(name)} means the one here")
    return True
