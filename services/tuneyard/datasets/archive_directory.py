"""What the directory of a stranger's ZIP file may say: every entry is checked before a byte is inflated."""

import re
import stat
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain

from tuneyard.datasets.codes import ADVICE, Code
from tuneyard.datasets.names import ARCHIVE_EXTENSIONS, identity, is_junk, parents, top_folder

_MIB, _GIB = 1 << 20, 1 << 30

_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
# bzip2 and LZMA are left out on purpose: zipfile inflates them without a bound on what one read may produce.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ArchiveError(Exception):
    """An archive, or a folder in its place, is refused; `code` is a finding's code, `member` a name."""

    def __init__(self, code: Code, message: str, *, member: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.member = member
        self.remedy = ADVICE[code].remedy


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """How much an archive may be and become. Archives inside are not allowed."""

    max_archive_bytes: int = 200 * _GIB
    """Size of the ZIP file itself."""
    max_total_bytes: int = 500 * _GIB
    """Size of everything in it, inflated."""
    max_member_bytes: int = 50 * _GIB
    """Size of one file in it, inflated."""
    max_members: int = 2_000_000
    max_ratio: int = 200
    """Inflated over compressed size, of one file and of the whole; images stay near 1, text below 20."""
    ratio_floor_bytes: int = 16 * _MIB
    """Below this inflated size the ratio does no harm and is not looked at: a blank image packs very well."""
    max_path_bytes: int = 1024
    max_component_bytes: int = 255
    """The longest name of a file on the usual file systems."""
    packed_formats: tuple[str, ...] = ()
    """Endings of files whose own format is that of an archive, and which are files here like any other."""


DEFAULT_LIMITS = ArchiveLimits()


def read_directory(
    archive: zipfile.ZipFile, limits: ArchiveLimits, archive_bytes: int
) -> tuple[dict[str, zipfile.ZipInfo], tuple[str, ...], int]:
    """Checks every entry and returns the files by name, the folders, and how many entries are junk."""
    entries = archive.infolist()
    if len(entries) > limits.max_members:
        raise ArchiveError(
            Code.ARCHIVE_TOO_MANY_MEMBERS,
            f"The archive has {len(entries)} members; the limit is {limits.max_members}.",
        )
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    ignored = 0
    for info in entries:
        name = _safe_name(info, limits)
        if not name:
            continue
        if is_junk(name):
            ignored += not info.is_dir()
            continue
        _refuse_unreadable(info, name)
        if info.is_dir():
            folders.add(name)
        else:
            _refuse_bomb(info, name, limits)
            if name in files:
                raise ArchiveError(
                    Code.ARCHIVE_DUPLICATE_MEMBER, f"{name!r} is in the archive twice.", member=name
                )
            files[name] = info
    for name in files:
        folders.update(parents(name))
    for name in tuple(folders):
        folders.update(parents(name))
    _refuse_collisions(files, folders)
    _refuse_total(files, limits, archive_bytes)
    start = len(top_folder(files, folders))
    return (
        {name[start:]: files[name] for name in sorted(files)},
        tuple(sorted(name[start:] for name in folders if len(name) > start)),
        ignored,
    )


def _safe_name(info: zipfile.ZipInfo, limits: ArchiveLimits) -> str:
    """The member's name without `./` and doubled slashes; an empty string for the root itself."""
    raw = info.orig_filename
    shown = info.filename.encode("unicode_escape").decode()
    if "\\" in raw or raw.startswith("/") or _DRIVE.match(raw) or ".." in raw.split("/"):
        raise ArchiveError(
            Code.ARCHIVE_UNSAFE_PATH,
            f"{shown!r} is an absolute path, leads out of the folder, or is written with backslashes.",
            member=shown,
        )
    if _CONTROL.search(raw):
        raise ArchiveError(Code.ARCHIVE_UNSAFE_PATH, f"{shown!r} holds control characters.", member=shown)
    if not info.flag_bits & 0x800:
        raw = _guess_utf8(raw)
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    name = "/".join(parts)
    longest = max((len(part.encode()) for part in parts), default=0)
    if len(name.encode()) > limits.max_path_bytes or longest > limits.max_component_bytes:
        raise ArchiveError(Code.ARCHIVE_PATH_TOO_LONG, f"The name {shown[:80]!r}… is too long.", member=shown)
    return name


def _guess_utf8(name: str) -> str:
    """macOS writes UTF-8 names without saying so, and zipfile reads those as cp437."""
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _refuse_unreadable(info: zipfile.ZipInfo, name: str) -> None:
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise ArchiveError(Code.ARCHIVE_ENCRYPTED, f"{name!r} is encrypted.", member=name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not info.is_dir()):
        what = "a symbolic link" if kind == stat.S_IFLNK else "not an ordinary file"
        raise ArchiveError(Code.ARCHIVE_SPECIAL_FILE, f"{name!r} is {what}.", member=name)
    if info.is_dir():
        return
    if info.compress_type not in _METHODS:
        raise ArchiveError(
            Code.ARCHIVE_COMPRESSION_UNSUPPORTED,
            f"{name!r} is compressed with method {info.compress_type}.",
            member=name,
        )
    if name.lower().endswith(ARCHIVE_EXTENSIONS):
        raise ArchiveError(Code.ARCHIVE_NESTED, f"{name!r} is itself an archive.", member=name)


def _refuse_bomb(info: zipfile.ZipInfo, name: str, limits: ArchiveLimits) -> None:
    size = info.file_size
    if size > limits.max_member_bytes:
        raise ArchiveError(
            Code.ARCHIVE_TOO_LARGE,
            f"{name!r} inflates to {size} bytes; the limit for one file is {limits.max_member_bytes}.",
            member=name,
        )
    if size > limits.ratio_floor_bytes and size > limits.max_ratio * max(info.compress_size, 1):
        raise ArchiveError(
            Code.ARCHIVE_BOMB,
            f"{name!r} inflates from {info.compress_size} to {size} bytes, over {limits.max_ratio} times.",
            member=name,
        )


def _refuse_total(files: dict[str, zipfile.ZipInfo], limits: ArchiveLimits, archive_bytes: int) -> None:
    total = sum(info.file_size for info in files.values())
    if total > limits.max_total_bytes:
        raise ArchiveError(
            Code.ARCHIVE_TOO_LARGE,
            f"The archive inflates to {total} bytes; the limit is {limits.max_total_bytes}.",
        )
    # Measured against the file itself, because members that overlap can each claim the same compressed bytes.
    if total > limits.ratio_floor_bytes and total > limits.max_ratio * archive_bytes:
        raise ArchiveError(
            Code.ARCHIVE_BOMB,
            f"The archive inflates from {archive_bytes} to {total} bytes, over {limits.max_ratio} times.",
        )


def _refuse_collisions(files: Collection[str], folders: Collection[str]) -> None:
    seen: set[str] = set()
    for name in chain(folders, files):
        key = identity(name)
        if key in seen:
            other = next(each for each in chain(folders, files) if identity(each) == key)
            raise ArchiveError(
                Code.ARCHIVE_DUPLICATE_MEMBER,
                f"{name!r} and {other!r} are the same file on some systems.",
                member=name,
            )
        # Most are as they are written: the name itself is there already.
        seen.add(name if key == name else key)
