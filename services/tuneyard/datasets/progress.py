"""How long-running work on a dataset tells how far it is, and how it is told to stop."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` files in one stage; a stage's name is for people."""

    stage: str
    done: int
    total: int


ProgressCallback = Callable[[Progress], None]


class Cancelled(Exception):
    """The work was told to stop and left nothing behind."""
