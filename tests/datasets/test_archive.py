"""Attacks on the unpacker: each is refused by its own code and leaves nothing behind."""

import contextlib
import io
import os
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.datasets import (
    Archive,
    ArchiveError,
    ArchiveLimits,
    Cancelled,
    Code,
    Progress,
    check_archive,
    unpack,
)

WriteZip = Callable[..., Path]
MIB = 1 << 20
LIMITS = ArchiveLimits(
    max_archive_bytes=4 * MIB,
    max_total_bytes=8 * MIB,
    max_member_bytes=6 * MIB,
    max_members=50,
    ratio_floor_bytes=MIB,
    max_path_bytes=200,
    max_component_bytes=100,
)


def with_info(path: Path, name: str, data: bytes = b"x", **fields: int) -> Path:
    """A ZIP file of one member whose directory entry has the given fields."""
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, data)
    return path


def patched(path: Path, *, offset: int, value: bytes, local_offset: int | None = None) -> Path:
    """Overwrites a field of the first entry in the central directory, and in its local header if asked."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + offset : entry + offset + len(value)] = value
    if local_offset is not None:
        data[local_offset : local_offset + len(value)] = value
    path.write_bytes(data)
    return path


def refused(path: Path, *, limits: ArchiveLimits = LIMITS) -> ArchiveError:
    """The error of both ways in, which must agree; nothing may be left of the unpacking."""
    destination = path.parent / "out" / "set"
    with pytest.raises(ArchiveError) as unpacking:
        unpack(path, destination, limits=limits)
    assert list(destination.parent.iterdir()) == []
    with pytest.raises(ArchiveError) as checking:
        check_archive(path, limits=limits)
    assert checking.value.code == unpacking.value.code
    assert checking.value.remedy
    return checking.value


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "/etc/passwd",
        "C:/evil.png",
        "c:evil.png",
        "a\\evil.png",
        "..",
        "a/..",
        "a\nb.png",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    error = refused(with_info(tmp_path / "a.zip", name))
    assert error.code is Code.ARCHIVE_UNSAFE_PATH
    assert error.member is not None


def test_a_name_with_a_hidden_end_is_refused(write_zip: WriteZip) -> None:
    path = write_zip({"aXb.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"aXb.png", b"a\x00b.png"))
    assert refused(path).code is Code.ARCHIVE_UNSAFE_PATH


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    path = with_info(tmp_path / "a.zip", "a.png", b"/etc/passwd", external_attr=(kind | 0o777) << 16)
    assert refused(path).code is Code.ARCHIVE_SPECIAL_FILE


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"),
        ("a/x.png", "A/X.PNG"),
        ("a/x.png", "a/./x.png"),
        ("a/x.png", "a//x.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("a", "a/x.png"),
        ("Cat/1.png", "cat/2.png"),
    ],
)
def test_members_that_would_overwrite_each_other_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    assert refused(path).code is Code.ARCHIVE_DUPLICATE_MEMBER


def test_an_encrypted_member_is_refused(write_zip: WriteZip) -> None:
    path = patched(write_zip({"a.png": b"x"}), offset=8, value=struct.pack("<H", 0x1), local_offset=6)
    assert refused(path).code is Code.ARCHIVE_ENCRYPTED


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_inflates_without_bounds_is_refused(write_zip: WriteZip, method: int) -> None:
    assert refused(write_zip({"a.png": b"x"}, method=method)).code is Code.ARCHIVE_COMPRESSION_UNSUPPORTED


def test_a_file_whose_own_format_is_an_archive_is_read_where_that_is_said(write_zip: WriteZip) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("data.pkl", b"x")
    path = write_zip({"model/a.PTH": inner.getvalue(), "model/a.json": b"{}"})
    assert refused(path).code is Code.ARCHIVE_NESTED
    with Archive(path, limits=ArchiveLimits(packed_formats=(".pth",))) as read:
        assert read.read("a.PTH") == inner.getvalue()


def test_an_archive_inside_is_refused_by_its_name_or_its_content(write_zip: WriteZip) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.png", b"x")
    assert refused(write_zip({"a/inner.tar.gz": b"x"})).code is Code.ARCHIVE_NESTED
    error = refused(write_zip({"a/inner.png": inner.getvalue()}))
    assert (error.code, error.member) == (Code.ARCHIVE_NESTED, "a/inner.png")


def test_a_bomb_of_one_member_is_refused(write_zip: WriteZip) -> None:
    error = refused(write_zip({"zeros.bmp": bytes(5 * MIB)}))
    assert (error.code, error.member) == (Code.ARCHIVE_BOMB, "zeros.bmp")


def test_a_bomb_of_many_members_is_refused(write_zip: WriteZip) -> None:
    assert refused(write_zip({f"{number}.bmp": bytes(MIB) for number in range(5)})).code is Code.ARCHIVE_BOMB


def test_members_that_share_their_bytes_are_refused_as_a_bomb(write_zip: WriteZip) -> None:
    path = write_zip({"a.bmp": random.Random(0).randbytes(1000)}, method=zipfile.ZIP_STORED)
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(data[start:end].replace(b"a.bmp", b"%c.bmp" % letter) for letter in range(97, 123))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 26, 26, len(entries), start, 0)
    path.write_bytes(data[:start] + entries + tail)
    tight = ArchiveLimits(max_ratio=2, ratio_floor_bytes=1000)
    with pytest.raises(ArchiveError) as error:
        Archive(path, limits=tight)
    assert error.value.code in (Code.ARCHIVE_BOMB, Code.ARCHIVE_CORRUPT)


def test_a_member_never_yields_more_than_the_directory_says(write_zip: WriteZip) -> None:
    path = patched(
        write_zip({"a.bmp": bytes(5 * MIB)}), offset=24, value=struct.pack("<L", 100), local_offset=22
    )
    assert refused(path).code is Code.ARCHIVE_CORRUPT


def test_a_member_that_yields_less_than_the_directory_says_is_refused(write_zip: WriteZip) -> None:
    path = patched(write_zip({"a.bmp": b"x" * 50}), offset=24, value=struct.pack("<L", 100), local_offset=22)
    assert refused(path).code is Code.ARCHIVE_CORRUPT


def test_size_and_count_limits_name_their_numbers(write_zip: WriteZip) -> None:
    noise = random.Random(0).randbytes(3 * MIB)
    many = refused(write_zip({f"{number}.txt": b"" for number in range(51)}))
    assert (many.code, "51" in many.message, "50" in many.message) == (
        Code.ARCHIVE_TOO_MANY_MEMBERS,
        True,
        True,
    )
    large = write_zip({"a.bin": noise, "b.bin": noise})
    assert refused(large).code is Code.ARCHIVE_TOO_LARGE
    wide = ArchiveLimits(max_total_bytes=5 * MIB)
    assert refused(large, limits=wide).code is Code.ARCHIVE_TOO_LARGE
    assert refused(large, limits=ArchiveLimits(max_member_bytes=2 * MIB)).member == "a.bin"


def test_a_path_too_long_for_file_systems_is_refused(write_zip: WriteZip) -> None:
    assert refused(write_zip({"a" * 101: b"x"})).code is Code.ARCHIVE_PATH_TOO_LONG
    assert refused(write_zip({"a/" * 101 + "x": b"x"})).code is Code.ARCHIVE_PATH_TOO_LONG


def test_a_name_that_is_not_utf8_is_refused(write_zip: WriteZip) -> None:
    path = write_zip({"\u00e9\u00e9.png": b"x"})
    path.write_bytes(path.read_bytes().replace("\u00e9\u00e9".encode(), b"\xff\xfe\xff\xfe"))
    assert refused(path).code is Code.ARCHIVE_NAME_UNDECODABLE


@pytest.mark.parametrize(
    "data", [b"", b"not a zip", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert refused(path).code is Code.ARCHIVE_CORRUPT


def test_a_flipped_byte_is_found_and_its_file_named(write_zip: WriteZip) -> None:
    path = write_zip({"a.png": b"fine", "b.png": b"some bytes to break"}, method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"some bytes", b"some bites"))
    error = refused(path)
    assert (error.code, error.member) == (Code.ARCHIVE_CORRUPT, "b.png")


def test_no_damage_raises_anything_but_an_archive_error(write_zip: WriteZip) -> None:
    whole = write_zip(
        {f"{name}/{number}.png": bytes(range(40)) for name in "ab" for number in range(5)}
    ).read_bytes()
    dice = random.Random(0)
    path = write_zip({})
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data[: dice.randrange(len(data))] if dice.random() < 0.2 else data)
        with contextlib.suppress(ArchiveError):
            check_archive(path, limits=LIMITS)


def test_cancelling_leaves_nothing(write_zip: WriteZip, tmp_path: Path) -> None:
    path = write_zip({f"a/{number}.png": b"x" for number in range(10)})
    answers = iter([False] * 5 + [True])
    with pytest.raises(Cancelled):
        unpack(path, tmp_path / "out" / "set", should_stop=lambda: next(answers))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failing_progress_callback_leaves_nothing(write_zip: WriteZip, tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.done == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        unpack(
            write_zip({f"{number}.png": b"x" for number in range(9)}), tmp_path / "out" / "set", progress=fail
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_an_existing_destination_is_not_touched(write_zip: WriteZip, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "kept").write_text("kept")
    with pytest.raises(FileExistsError):
        unpack(write_zip({"a.png": b"x"}), tmp_path / "set")
    assert os.listdir(tmp_path / "set") == ["kept"]


def test_unpacking_writes_the_dataset_without_junk_and_top_folder(
    write_zip: WriteZip, tmp_path: Path
) -> None:
    files = {
        "train/a/1.png": b"1",
        "train/a/.DS_Store": b"j",
        "__MACOSX/train/._1.png": b"j",
        "val/a/Thumbs.db": b"j",
    }
    path = write_zip({**files, "train/empty/": b""}, prefix="data/")
    seen: list[Progress] = []
    summary = unpack(path, tmp_path / "out", progress=seen.append)
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")) == [
        "train",
        "train/a",
        "train/a/1.png",
        "train/empty",
    ]
    assert (summary.files, summary.total_bytes, summary.ignored) == (1, 1, 3)
    assert (seen[-1].done, seen[-1].total) == (1, 1)


def test_names_skipped_are_not_written(write_zip: WriteZip, tmp_path: Path) -> None:
    unpack(write_zip({"a/1.png": b"1", "a/2.png": b"2"}), tmp_path / "out", skip={"a/1.png"})
    assert os.listdir(tmp_path / "out" / "a") == ["2.png"]


def test_names_in_utf8_without_the_flag_are_understood(tmp_path: Path) -> None:
    path = with_info(tmp_path / "a.zip", "\u00fcber/1.png")
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    path.write_bytes(data[:6] + b"\x00\x00" + data[8 : entry + 8] + b"\x00\x00" + data[entry + 10 :])
    with Archive(path) as archive:
        assert archive.names() == ("\u00fcber/1.png",)
        assert archive.read("\u00fcber/1.png") == b"x"


def test_a_zip64_archive_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a/1.png", "w", force_zip64=True) as file:
        file.write(b"x" * 100)
    assert check_archive(path).total_bytes == 100
