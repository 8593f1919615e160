"""One read-only view of a dataset, whether it lies in a folder or still in its ZIP file.

Names are relative to the dataset's root, without junk and without a folder that merely wraps it. Both views
of a dataset are equal, so a finding about a ZIP file is true of the folder that it is unpacked to.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tuneyard.datasets.archive import CHUNK_BYTES, Archive
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveError, ArchiveLimits
from tuneyard.datasets.codes import Code
from tuneyard.datasets.name_list import NameList
from tuneyard.datasets.names import is_junk, top_folder


class Source(Protocol):
    """What inspection needs of a dataset; `read`, `chunks` and `size` may be called from several threads."""

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders, empty ones included, sorted."""

    @property
    def links(self) -> tuple[str, ...]:
        """Links and special files, which are not followed and not among the names."""

    @property
    def ignored(self) -> int:
        """How many files of junk were left out."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def names(self) -> Sequence[str]:
        """All files, sorted."""

    def size(self, name: str) -> int:
        """The file's size in bytes."""

    def read(self, name: str) -> bytes:
        """The whole file."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The file's bytes, piece by piece."""


class FolderSource:
    """A dataset in a folder. Links are not followed, since they may lead out of it."""

    def __init__(self, path: Path) -> None:
        folders: list[str] = []
        links: list[str] = []
        self.ignored = 0

        def files_among(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
            for name, kind in entries:
                if is_junk(name):
                    self.ignored += kind != "folder"
                elif kind == "file":
                    yield name
                else:
                    (folders if kind == "folder" else links).append(name)

        files = NameList(files_among(_walk(path)))
        prefix = top_folder(files, folders)
        start = len(prefix)
        self.root = path / prefix
        """The folder that names are relative to."""
        self.folders = tuple(sorted(name[start:] for name in folders if len(name) > start))
        self.links = tuple(sorted(name[start:] for name in links))
        self._names = files.below(prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def names(self) -> Sequence[str]:
        return self._names

    def size(self, name: str) -> int:
        return (self.root / name).stat(follow_symlinks=False).st_size

    def read(self, name: str) -> bytes:
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        # A file that became a link since the folder was listed is not followed either.
        descriptor = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class Without:
    """A dataset without some of its files, as if they had never been in it; its folders stay."""

    def __init__(self, source: Source, left_out: Collection[str]) -> None:
        self._source = source
        self._names = NameList(name for name in source.names() if name not in left_out)
        self.folders = source.folders
        self.links = tuple(name for name in source.links if name not in left_out)
        self.ignored = source.ignored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whoever opened the source closes it."""

    def names(self) -> Sequence[str]:
        return self._names

    def size(self, name: str) -> int:
        return self._source.size(name)

    def read(self, name: str) -> bytes:
        return self._source.read(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._source.chunks(name)


def open_source(path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> Source:
    """The dataset in the folder or ZIP file at `path`; raises FileNotFoundError or `ArchiveError`."""
    if path.is_dir():
        return FolderSource(path)
    return Archive(path, limits=limits)


def _walk(root: Path) -> Iterable[tuple[str, str]]:
    """Everything below a folder as (name, "file" | "folder" | "link"), files in the order of their names."""
    opened = [_listed(root, "")]
    while opened:
        name, kind = next(opened[-1], ("", ""))
        if not kind:
            opened.pop()
            continue
        yield name, kind
        if kind == "folder" and not is_junk(name):
            opened.append(_listed(root, f"{name}/"))


def _listed(root: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """What lies in one folder."""
    entries: list[str] = []
    links: set[str] = set()
    with os.scandir(root / prefix) as found:
        for entry in found:
            name = _decodable(entry.name)
            if entry.is_dir(follow_symlinks=False):
                # All that is in it comes where its name with the slash does.
                name += "/"
            elif not entry.is_file(follow_symlinks=False):
                links.add(name)
            entries.append(name)
    entries.sort()
    for name in entries:
        kind = "folder" if name.endswith("/") else "link" if name in links else "file"
        yield prefix + name.removesuffix("/"), kind


def _decodable(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise ArchiveError(
            Code.ARCHIVE_NAME_UNDECODABLE, f"The name {shown!r} is not UTF-8.", member=shown
        ) from None
    return name
