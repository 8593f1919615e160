from pathlib import Path

import pytest

from tuneyard.trainer.data_folder import DataFolder, DataFolderError, DataFolderInUse, write_whole


def test_the_id_and_the_newest_epoch_outlive_the_process(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path / "data", new_id="one")
    first.raise_epoch(7)
    first.raise_epoch(5)
    first.close()
    second = DataFolder.open(tmp_path / "data", new_id="two")
    assert (second.trainer_id, second.epoch) == ("one", 7)
    second.close()


def test_a_folder_has_one_trainer_at_a_time(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path, new_id="one")
    with pytest.raises(DataFolderInUse, match="another trainer"):
        DataFolder.open(tmp_path, new_id="two")
    first.close()
    DataFolder.open(tmp_path, new_id="two").close()


def test_a_folder_with_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    short = DataFolder.open(tmp_path / "a", new_id="one")
    long = DataFolder.open(tmp_path / ("long" * 30), new_id="two")
    assert short.wake_socket().parent == short.path or len(str(short.path)) > 90
    socket = long.wake_socket()
    assert len(str(socket)) < 100
    long.close()
    short.close()
    assert not socket.parent.exists()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"a long first content")
    write_whole(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="file/data: Not a directory"):
        DataFolder.open(tmp_path / "file" / "data", new_id="one")
