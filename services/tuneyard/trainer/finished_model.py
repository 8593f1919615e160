"""What a family gives to have its finished models tried: the worker calls it, and knows nothing else of it.

A family's entry has `open_model(model: FinishedModel) -> Answerer`; its trainer names the methods it serves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuneyard.v1.job_pb2 import JobSpec


@dataclass(frozen=True, kw_only=True)
class FinishedModel:
    """A succeeded job's model, on this machine."""

    dir: Path
    """The files of its model and its manifest.json, by their paths; read-only and verified."""
    spec: JobSpec
    """The job's resolved spec."""
    device: str
    """Either "cpu" or "cuda:0", as the process sees it."""
    cpu_threads: int
    """Threads for tensor arithmetic."""
    base: Callable[[], Path | None] = lambda: None
    """The folder with the base model's files from the store, fetched at the first call; None where the base
    is none of the store's. Raises RecipeError BASE_MODEL_UNAVAILABLE and of the store and the disk.
    """
    base_sha256: str = ""
    """Over the base model's files; "" where there are none."""
    cached: Callable[[str, str, Callable[[Path], None]], Path] | None = None
    """Derived data as by `Run.cached`, which shares it."""


class AnswerCancelled(Exception):
    """Nobody waits for the answer any more."""


class InferenceError(Exception):
    """Why there is no answer, for the caller: no path, no traceback."""

    def __init__(self, reason: str, message: str) -> None:
        """`reason` is a name of ErrorReason without its prefix."""
        super().__init__(message)
        self.reason = reason
        self.message = message


class BadInput(Exception):
    """Something in the request cannot be used: pairs of a field's path and what is wrong with it."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in violations[:5]))
        self.violations = tuple(violations)


class Answerer(Protocol):
    """A loaded model."""

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        """The serialized responses to a serialized public request: one, or the pieces of a stream.

        Calls `check` between pieces of work, which raises AnswerCancelled and is to be let through. Raises
        BadInput, InferenceError, RecipeError.
        """
        ...
