"""Which base model something was trained on, so that it is never put onto another."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BaseIdentity:
    """A base model's name and what pins it."""

    id: str
    """The hub's id, or the name in the store ("models/…")."""
    revision: str = ""
    """The hub's commit; "" where there is none."""
    sha256: str = ""
    """Of the files, as the store or the trainer's cache recorded it; "" where unknown."""
