"""What callers of the guide's API named what the server complains of: it knows the typed request alone."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from tuneyard.client import errors
from tuneyard.client.errors import Violation

Naming = Callable[[str], str]
"""From a path of the typed request to the caller's name for it."""


@contextmanager
def told_as(naming: Naming) -> Iterator[None]:
    """The violations of an error that is raised within have the caller's names."""
    try:
        yield
    except errors.TuneyardError as error:
        error.violations = tuple(Violation(naming(each.field), each.description) for each in error.violations)
        raise


def naming(names: Mapping[str, str]) -> Naming:
    """By the first of `names`' paths that a path is, or lies below; any other keeps its own."""
    return lambda path: next(
        (named for each, own in names.items() if (named := below(path, each, own)) is not None), path
    )


def below(path: str, parent: str, own: str) -> str | None:
    """The path with `own` in the place of `parent`; None where it lies elsewhere."""
    rest = path.removeprefix(parent)
    return f"{own}{rest}" if path.startswith(parent) and (not rest or rest[0] in ".[") else None


def in_path(path: str, parameters: Iterable[str]) -> str:
    """The name of a resource is, for callers, the part of the URL's path that it stands in."""
    own = next(iter(parameters), "")
    return own if own and re.fullmatch(r"name|parent|job|dataset", path) else path
