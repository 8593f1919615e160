"""Which base model something was trained on, so that it is never put onto another."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BaseIdentity:
    """A base model's name and what pins it."""

    id: str
    """The hub's id, or the name in the store ("models/…")."""
    revision: str = ""
    """The hub's commit; "" where there is none."""
    sha256: str = ""
    """Of the files, as the store or the trainer's cache recorded it; "" where unknown."""


def files_sha256(folder: Path) -> str:
    """The SHA-256 over a folder's files, in hex: the one that the store gives a model of these files."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    whole = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        whole.update(f"{digest.hexdigest()}  {name}\n".encode())
    return whole.hexdigest()
