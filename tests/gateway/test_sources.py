"""Where imports may come from, and the ZIPs that folders become."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuneyard.gateway.sources import ImportSources, zipped
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An allowed root with a folder and a file."""
    root = tmp_path / "root"
    (root / "set" / "empty").mkdir(parents=True)
    (root / "set" / "a.txt").write_bytes(b"a")
    (root / "file.zip").write_bytes(b"zip")
    (tmp_path / "rootless").mkdir()
    return root


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store", public_url="http://x")


def sources(store: FolderStore, root: Path, *, url: str = "s3://bucket/base") -> ImportSources:
    return ImportSources(store, store_url=url, roots=[root])


def test_a_folder_becomes_a_zip_with_its_empty_folders(store: FolderStore, root: Path) -> None:
    sources(store, root).copy(str(root / "set"), "datasets/x/data")
    with zipfile.ZipFile(io.BytesIO(b"".join(store.read("datasets/x/data")))) as archive:
        assert sorted(archive.namelist()) == ["a.txt", "empty/"]
        assert archive.read("a.txt") == b"a"


def test_a_file_is_stored_as_it_is(store: FolderStore, root: Path) -> None:
    assert sources(store, root).copy(str(root / "file.zip"), "datasets/x/data").size_bytes == 3


def test_an_object_of_the_same_store_is_copied(store: FolderStore, root: Path) -> None:
    store.put("incoming/x.zip", b"bytes")
    info = sources(store, root).copy("s3://bucket/base/incoming/x.zip", "datasets/x/data")
    assert b"".join(store.read(info.key)) == b"bytes"


@pytest.mark.parametrize(
    "source",
    [
        "/",
        "/etc/passwd",
        "{root}/../rootless",
        "{root}less",
        "{root}/absent",
        "{root}/set/\0",
        "set",
        "/dev/null",
        "s3://bucket/other",
        "s3://bucket/base/absent",
        "s3://elsewhere/x",
    ],
)
def test_everything_else_is_refused(store: FolderStore, root: Path, source: str) -> None:
    with pytest.raises(TuneyardError) as caught:
        sources(store, root).check(source.format(root=root))
    assert caught.value.reason == "SOURCE_NOT_ALLOWED"


def test_a_link_is_judged_by_where_it_leads(store: FolderStore, root: Path) -> None:
    (root / "inside").symlink_to(root / "set")
    (root / "outside").symlink_to(root.parent / "rootless")
    sources(store, root).check(str(root / "inside"))
    with pytest.raises(TuneyardError):
        sources(store, root).check(str(root / "outside"))


def test_a_zip_is_made_in_flat_memory() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (bytes(1 << 20) for _ in range(64))

    largest = max(len(piece) for piece in zipped(iter([("zeros", 64 << 20, chunks())])))
    assert largest <= 2 << 20


def test_a_zip_of_more_than_four_gigabytes_names_its_sizes_in_zip64() -> None:
    pieces = zipped(iter([("huge", 5 << 30, iter([b"x"]))]))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.read("huge") == b"x"
