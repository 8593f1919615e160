from pathlib import Path

import pytest

from tuneyard.trainer.cgroup import OutOfMemoryKills, memory_limit_bytes

V1 = "9:cpu:/\n4:memory:/jobs/a\n0::/\n"
V2 = "0::/jobs/a\n"


@pytest.fixture(params=["v1", "v2", "v2 in a container"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, Path]:
    """The root, the membership file and the folder of our group."""
    membership = tmp_path / "membership"
    membership.write_text(V1 if request.param == "v1" else V2)
    folder = {
        "v1": tmp_path / "root" / "memory" / "jobs" / "a",
        "v2": tmp_path / "root" / "jobs" / "a",
        # The path is the host's, and our group is mounted as the root.
        "v2 in a container": tmp_path / "root",
    }[request.param]
    folder.mkdir(parents=True)
    (folder / ("memory.oom_control" if request.param == "v1" else "memory.events")).write_text("oom_kill 2\n")
    return tmp_path / "root", membership, folder


def write_kills(folder: Path, count: int) -> None:
    for name in ("memory.oom_control", "memory.events"):
        if (folder / name).exists():
            (folder / name).write_text(f"under_oom 0\noom_kill {count}\n")


def test_a_kill_explains_one_death_after_it_was_counted(group: tuple[Path, Path, Path]) -> None:
    root, membership, folder = group
    kills = OutOfMemoryKills(root=root, membership=membership)
    before = kills.count()
    assert not kills.claim(since=before)
    write_kills(folder, 3)
    assert kills.claim(since=before)
    assert not kills.claim(since=before), "one kill, one death"


def test_a_kill_before_a_worker_began_does_not_explain_its_death(group: tuple[Path, Path, Path]) -> None:
    root, membership, folder = group
    kills = OutOfMemoryKills(root=root, membership=membership)
    write_kills(folder, 5)
    assert not kills.claim(since=kills.count())


def test_without_control_groups_nothing_was_killed(tmp_path: Path) -> None:
    kills = OutOfMemoryKills(root=tmp_path, membership=tmp_path / "absent")
    assert kills.count() == 0 and not kills.claim(since=0)


@pytest.mark.parametrize(
    ("text", "limit"), [("1073741824\n", 1 << 30), ("max\n", None), (f"{1 << 63}\n", None)]
)
def test_the_memory_limit_is_the_groups(group: tuple[Path, Path, Path], text: str, limit: int | None) -> None:
    root, membership, folder = group
    (folder / "memory.max").write_text(text)
    assert memory_limit_bytes(root=root, membership=membership) == limit
