"""Packs a folder into a ZIP, so that the same files always give the same bytes."""

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias

Wanted: TypeAlias = Callable[[Path], bool]
"""Which files of a folder are packed."""

# What file managers leave behind; no dataset needs it.
_JUNK: Final = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_COMPRESSED: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".gz", ".zip"),
        *(".safetensors", ".bin", ".pt", ".pth"),
    }
)


def pack(folder: Path, archive: Path, *, wanted: Wanted = lambda path: True) -> None:
    """Writes every wanted file below `folder` into the ZIP `archive`; links to elsewhere are left out."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as target:
        for path in filter(wanted, _files(folder)):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=_EPOCH)
            entry.external_attr = 0o644 << 16
            # Images and weights do not get smaller, and squeezing them takes longer than sending them.
            stored = path.suffix.lower() in _COMPRESSED
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, target.open(entry, "w") as sink:
                while chunk := source.read(1024 * 1024):
                    sink.write(chunk)


def as_file(source: Path, stack: ExitStack, *, wanted: Wanted = lambda path: True) -> Path:
    """The file itself, or a ZIP of the folder's wanted files that is gone when the stack is closed."""
    if not source.is_dir():
        return source
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tuneyard-"))
    archive = Path(folder) / f"{source.resolve().name}.zip"
    pack(source, archive, wanted=wanted)
    return archive


def _files(folder: Path) -> Iterator[Path]:
    for directory, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if name not in _JUNK)
        for name in sorted(files):
            path = Path(directory) / name
            if name not in _JUNK and path.is_file() and not path.is_symlink():
                yield path
