import errno
import fcntl
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.trainer.cache import Cache
from tuneyard.trainer.errors import RecipeError


def of_size(size_bytes: int) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "data.bin").write_bytes(bytes(size_bytes))

    return build


def refuse(folder: Path) -> None:
    raise AssertionError("built a second time")


def use(cache: Cache, key: str, *, at: int, size_bytes: int = 100) -> Path:
    """Uses an entry as if at a point in time."""
    entry = cache.entry("data", key, of_size(size_bytes))
    os.utime(entry.parent / "complete.json", (at, at))
    return entry


def test_an_entry_outlives_the_process_that_built_it(tmp_path: Path) -> None:
    first = Cache(tmp_path)
    entry = first.entry("data", "key", of_size(3))
    first.close()
    assert Cache(tmp_path).entry("data", "key", refuse) == entry


def test_a_sha256_names_its_folder(tmp_path: Path) -> None:
    digest = "ab" * 32
    assert Cache(tmp_path).entry("data", digest, of_size(1)) == tmp_path / "data" / digest / "data"


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError

    with pytest.raises(ValueError):
        Cache(tmp_path).entry("data", "key", fail)
    assert list((tmp_path / "data").iterdir()) == []


def test_what_a_killed_builder_left_is_built_again(tmp_path: Path) -> None:
    first = Cache(tmp_path)
    entry = first.entry("data", "key", of_size(3))
    first.close()
    (entry.parent / "complete.json").unlink()
    (entry / "stale").touch()
    again = Cache(tmp_path).entry("data", "key", of_size(3))
    assert again == entry and [path.name for path in again.iterdir()] == ["data.bin"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(RecipeError) as caught:
        Cache(tmp_path).entry("data", "key", fill)
    assert caught.value.reason == "STORAGE_FULL"
    assert list((tmp_path / "data").iterdir()) == []


def test_the_entry_unused_for_longest_is_removed_first(tmp_path: Path) -> None:
    old = Cache(tmp_path)
    paths = {key: use(old, key, at=at) for key, at in (("a", 3), ("b", 1), ("c", 2))}
    old.close()
    Cache(tmp_path, limit_bytes=300).entry("data", "d", of_size(100))
    assert [key for key, path in paths.items() if path.exists()] == ["a", "c"]


def test_room_is_made_before_a_large_entry_is_built(tmp_path: Path) -> None:
    old = Cache(tmp_path)
    path = use(old, "a", at=1)
    old.close()

    def build(folder: Path) -> None:
        assert not path.exists()

    Cache(tmp_path, limit_bytes=150).entry("data", "b", build, expected_bytes=100)


def test_what_another_run_uses_is_never_removed(tmp_path: Path) -> None:
    user = Cache(tmp_path)
    path = use(user, "a", at=1)
    Cache(tmp_path, limit_bytes=1).entry("data", "b", of_size(100))
    assert path.exists()
    user.close()
    Cache(tmp_path, limit_bytes=1).entry("data", "c", of_size(100))
    assert not path.exists()


def test_concurrent_runs_build_once(tmp_path: Path) -> None:
    built: list[str] = []
    together = threading.Barrier(4)

    def run() -> None:
        together.wait()
        Cache(tmp_path).entry("data", "key", lambda folder: built.append(folder.name))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_who_waits_to_build_takes_what_another_has_built_and_still_uses(tmp_path: Path) -> None:
    first, waits = Cache(tmp_path), 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        assert waits == 1, "it is built, and waited for"
        os.close(other)
        first.entry("data", "key", of_size(1))

    first.entry("data", "another", of_size(1))
    (lock,) = (tmp_path / "locks").iterdir()
    key = hashlib.sha256(b"key").hexdigest()
    other = os.open(lock.with_name(f"data-{key}"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_SH)
    path = Cache(tmp_path, wait=wait).entry("data", "key", lambda _: pytest.fail("built twice"))
    assert path.is_dir() and waits == 1


def test_waiting_for_another_builder_can_be_ended(tmp_path: Path) -> None:
    building, done = threading.Event(), threading.Event()

    def build(folder: Path) -> None:
        building.set()
        done.wait(20)

    thread = threading.Thread(target=lambda: Cache(tmp_path).entry("data", "key", build))
    thread.start()
    building.wait(20)
    with pytest.raises(TimeoutError):
        Cache(tmp_path, check=_give_up).entry("data", "key", refuse)
    done.set()
    thread.join()


def test_an_entry_from_before_a_machines_crash_is_built_again(tmp_path: Path) -> None:
    restored = threading.Event()

    def never(path: Path) -> None:
        restored.wait(20)

    before = Cache(tmp_path, boot=lambda: "before", sync=never)
    before.entry("data", "key", of_size(1))
    before.close()
    entry = Cache(tmp_path, boot=lambda: "after").entry("data", "key", of_size(2))
    restored.set()
    assert (entry / "data.bin").stat().st_size == 2


def test_an_entry_that_the_disk_has_outlives_a_restart_of_the_machine(tmp_path: Path) -> None:
    before = Cache(tmp_path, boot=lambda: "before")
    before.entry("data", "key", of_size(1))
    for thread in threading.enumerate():
        if thread.name == "cache-sync":
            thread.join()
    before.close()
    Cache(tmp_path, boot=lambda: "after").entry("data", "key", refuse)


def _give_up() -> None:
    raise TimeoutError


def _hold(root: Path, ready: "multiprocessing.synchronize.Event") -> None:
    Cache(root).entry("data", "key", of_size(1))
    ready.set()
    threading.Event().wait(60)


@pytest.mark.integration
def test_a_killed_user_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    user = context.Process(target=_hold, args=(tmp_path, ready))
    user.start()
    assert ready.wait(30)
    Cache(tmp_path, limit_bytes=1).entry("data", "b", of_size(1))
    assert len(list((tmp_path / "data").iterdir())) == 2
    user.kill()
    user.join()
    Cache(tmp_path, limit_bytes=1).entry("data", "c", of_size(1))
    assert len(list((tmp_path / "data").iterdir())) == 2
