"""Brings the files of a model into the store, from a folder, a file or a ZIP. Call it in a thread."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuneyard.datasets import ArchiveError, ArchiveLimits, FolderSource, Source, open_source
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import InvalidKey, ObjectInfo, ObjectStore
from tuneyard.v1 import event_pb2, model_service_pb2, trainer_service_pb2

# What torch writes is a ZIP by itself; a trainer of the family reads it without executing anything in it.
_LIMITS = ArchiveLimits(packed_formats=(".pt", ".pth", ".bin", ".ckpt"))
REFUSED = (ArchiveError, InvalidKey)
"""What an unsafe ZIP raises."""


@dataclass(frozen=True)
class StoredModel:
    """The files of a model in the store."""

    files: tuple[event_pb2.StoredFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """Over the lines "HASH  PATH" of all files, by path."""
        digest = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.path):
            digest.update(f"{file.sha256}  {file.path}\n".encode())
        return digest.hexdigest()

    def as_source(
        self, model: model_service_pb2.Model, *, facts: str = ""
    ) -> trainer_service_pb2.ModelSource:
        """The model as a run needs it; `facts` are its converter's."""
        return trainer_service_pb2.ModelSource(
            name=model.name,
            architecture=model.architecture,
            files=self.files,
            sha256=self.sha256,
            revision=model.revision,
            facts=facts,
        )


def import_source(store: ObjectStore, prefix: str, resolve: Callable[[], Path]) -> StoredModel:
    """Copy a file or a folder below the prefix. SOURCE_NOT_ALLOWED, also where it cannot be read."""
    path = resolve()
    try:
        if path.is_dir():
            with FolderSource(path) as source:
                return _store_all(store, prefix, source)
        info = store.put_file(f"{prefix}{path.name}", path)
    except (ArchiveError, InvalidKey, OSError) as error:
        raise TuneyardError("SOURCE_NOT_ALLOWED", "the source cannot be read") from error
    return StoredModel((_file(path.name, info),))


def store_members(store: ObjectStore, prefix: str, file_name: str, *, work_dir: Path) -> StoredModel:
    """The stored file itself, or, in the place of a ZIP, its files. INVALID_FIELD for an unsafe ZIP."""
    key = f"{prefix}{file_name}"
    if not is_packed(file_name):
        return StoredModel((_file(file_name, store.stat(key)),))
    try:
        members = unpacked(store, key, prefix, work_dir=work_dir)
    except REFUSED as error:
        raise invalid("chunk", f"the ZIP is refused: {error}") from None
    store.delete(key)
    return members


def is_packed(file_name: str) -> bool:
    """Whether a model's file is a ZIP of its files."""
    return file_name.lower().endswith(".zip")


def unpacked(store: ObjectStore, key: str, prefix: str, *, work_dir: Path) -> StoredModel:
    """The files of a stored ZIP, below the prefix. One of REFUSED for an unsafe one."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_dir) as folder:
        path = Path(folder) / "model.zip"
        store.get_file(key, path)
        with open_source(path, limits=_LIMITS) as source:
            return _store_all(store, prefix, source)


def _store_all(store: ObjectStore, prefix: str, source: Source) -> StoredModel:
    return StoredModel(
        tuple(_file(name, store.put(f"{prefix}{name}", source.chunks(name))) for name in source.names())
    )


def _file(path: str, info: ObjectInfo) -> event_pb2.StoredFile:
    return event_pb2.StoredFile(path=path, key=info.key, size_bytes=info.size_bytes, sha256=info.sha256)
