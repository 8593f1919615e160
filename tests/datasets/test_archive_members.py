import zipfile
from pathlib import Path

from tuneyard.datasets.archive import Archive
from tuneyard.datasets.archive_members import Members


def written(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, f"bytes of {name}" * 20)
    return path


def test_files_are_read_as_they_were_written_whatever_their_names_were(tmp_path: Path) -> None:
    names = ["set/b/1.txt", "./set/a//2.txt", "set/ü/3.txt", "set/notes.md"]
    with Archive(written(tmp_path / "set.zip", names)) as archive:
        assert archive.names() == ("a/2.txt", "b/1.txt", "notes.md", "ü/3.txt")
        for name, as_written in (("a/2.txt", names[1]), ("b/1.txt", names[0]), ("ü/3.txt", names[2])):
            content = f"bytes of {as_written}".encode() * 20
            assert (archive.read(name), archive.size(name)) == (content, len(content))


def test_directories_that_tell_nonsense_are_damage_and_no_crash(tmp_path: Path) -> None:
    path = written(tmp_path / "set.zip", ["a/1.txt", "a/2.txt"])
    with Archive(path) as archive:
        info = archive._members.info("1.txt")
    assert (info.header_offset, info.compress_type) == (0, zipfile.ZIP_DEFLATED)
    info.header_offset, info.compress_size = -(1 << 70), 1 << 70
    found = Members({"a/1.txt": info}).info("a/1.txt")
    assert found.header_offset == -1 and found.compress_size == (1 << 63) - 1
