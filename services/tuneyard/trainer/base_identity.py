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

    def __str__(self) -> str:
        """For people, with all that is known of it."""
        revision = f" at revision {self.revision}" if self.revision else ""
        digest = f" (SHA-256 {self.sha256[:16]}…)" if self.sha256 else ""
        return f"{self.id}{revision}{digest}"

    def has_weights_of(self, other: "BaseIdentity") -> bool:
        """Whether both are of one model: the hash decides; without it name and revision must be equal."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return (self.id, self.revision) == (other.id, other.revision)


def files_sha256(folder: Path) -> str:
    """The SHA-256 over a folder's files, in hex: the one that the store gives a model of these files."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    whole = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        whole.update(f"{digest.hexdigest()}  {name}\n".encode())
    return whole.hexdigest()
