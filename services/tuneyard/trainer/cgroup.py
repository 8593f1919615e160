"""What the control group says about memory: its limit, and how many processes the kernel killed for it."""

import re
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class OutOfMemoryKills:
    """Tells whether the kernel killed a process of our control group for want of memory.

    The count is of the group, not of a process: `claim` lets each kill explain one death only.
    """

    def __init__(self, *, root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._file = _events_file(root, membership)
        self._claimed = self.count()

    def count(self) -> int:
        """Kills so far; 0 where the kernel does not tell."""
        if self._file is not None:
            with suppress(OSError):
                match = re.search(r"^oom_kill (\d+)$", self._file.read_text(), re.MULTILINE)
                return int(match.group(1)) if match else 0
        return 0

    def claim(self, *, since: int) -> bool:
        """True if there was a kill after the count was `since` that no earlier call has claimed."""
        explained = max(self._claimed, since)
        if self.count() <= explained:
            return False
        self._claimed = explained + 1
        return True


def memory_limit_bytes(*, root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """The lowest memory limit of our control group and those above it; None where there is none."""
    limits = []
    folder = _memory_folder(root, membership)
    while folder is not None and folder != folder.parent and folder.is_relative_to(root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
        folder = folder.parent
    # Version 1 writes "no limit" as the largest multiple of the page size.
    return min((limit for limit in limits if limit < 1 << 60), default=None)


def _events_file(root: Path, membership: Path) -> Path | None:
    folder = _memory_folder(root, membership)
    if folder is None:
        return None
    files = (folder / name for name in ("memory.events", "memory.oom_control"))
    return next((file for file in files if file.exists()), None)


def _memory_folder(root: Path, membership: Path) -> Path | None:
    """Our control group's folder with the memory files; in a container the path may be the host's."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in sorted(lines, key=lambda line: "memory" not in line[1].split(",")):
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        for folder in (base / path.lstrip("/"), base):
            if any((folder / name).exists() for name in ("memory.events", "memory.oom_control")):
                return folder
    return None
