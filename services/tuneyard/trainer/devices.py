"""What a trainer computes on: found without torch, by asking the driver's own tool and the kernel."""

import csv
import io
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuneyard.trainer.cgroup import memory_limit_bytes

_QUERY = "index,uuid,name,memory.total,memory.used,utilization.gpu"
_QUERY_SECONDS = 20.0
_DEVICE = re.compile(r"cpu|cuda:\d+")
_CAPABILITY = re.compile(r"^(\d+)\.(\d+)\s*$", re.MULTILINE)


class DeviceError(Exception):
    """The devices are not as the settings say."""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A row of the driver's list."""

    index: str
    uuid: str
    name: str
    memory_total_bytes: int
    memory_used_bytes: int
    utilization: float
    """From 0 to 1; 0 if unknown."""


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """A device at one moment; 0 and "" where nothing is known."""

    display_name: str = ""
    memory_total_bytes: int = 0
    memory_used_bytes: int = 0
    utilization: float = 0.0


def query_accelerators() -> list[Accelerator]:
    """What `nvidia-smi` lists; nothing where it is not there or does not answer."""
    return parse_accelerators(_asked(_QUERY))


def query_capabilities() -> list[tuple[int, int]]:
    """The accelerators' compute capabilities, such as (9, 0), from the same tool."""
    return [(int(major), int(minor)) for major, minor in _CAPABILITY.findall(_asked("compute_cap"))]


def _asked(columns: str) -> str:
    """What the tool answers, without units and a heading; "" where it does not."""
    command = ["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode(errors="replace")


def parse_accelerators(table: str) -> list[Accelerator]:
    """The rows of the tool's CSV; memory is in MiB, and what is unknown reads "[N/A]"."""
    rows = csv.reader(io.StringIO(table), skipinitialspace=True)
    return [
        Accelerator(
            index=row[0],
            uuid=row[1],
            name=row[2],
            memory_total_bytes=int(_number(row[3])) << 20,
            memory_used_bytes=int(_number(row[4])) << 20,
            utilization=_number(row[5]) / 100,
        )
        for row in rows
        if len(row) == 6
    ]


class Devices:
    """The trainer's devices and their facts. "cuda:0" is the first that this process may see."""

    def __init__(
        self,
        setting: str,
        *,
        visible: str | None = None,
        query: Callable[[], Sequence[Accelerator]] = query_accelerators,
    ) -> None:
        """`setting` is "auto" or names devices, separated by commas; `visible` is CUDA_VISIBLE_DEVICES.

        Raises DeviceError for a setting that cannot be.
        """
        self._query = query
        self._has_accelerators = setting != "cpu"
        self._visible = None if visible is None else [v.strip() for v in visible.split(",") if v.strip()]
        found = self._accelerators()
        self.names = _resolve(setting, found=len(found))
        self._has_accelerators = any(name != "cpu" for name in self.names)
        self._processor = _processor_name()
        self._busy = _Busy()
        self._facts = self._read(found)

    def facts(self, name: str) -> DeviceFacts:
        """What is known about a device since the last `refresh`."""
        return self._facts.get(name, DeviceFacts())

    def refresh(self) -> None:
        """Look again. Takes up to a second with accelerators: not for the event loop."""
        self._facts = self._read(self._accelerators())

    def environment(self, name: str) -> dict[str, str]:
        """The variables by which a process sees the device as its only one, or sees none for "cpu"."""
        if name == "cpu":
            return {"CUDA_VISIBLE_DEVICES": ""}
        index = int(name.removeprefix("cuda:"))
        entries = self._visible
        entry = entries[index] if entries is not None and index < len(entries) else str(index)
        # The driver's order, which is not the order in which CUDA counts by default.
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": entry}

    def _accelerators(self) -> list[Accelerator]:
        rows = list(self._query()) if self._has_accelerators else []
        if self._visible is None:
            return rows
        found: list[Accelerator] = []
        for entry in self._visible:
            if (row := _named(entry, rows)) is None:
                # As CUDA: what stands behind an entry that names nothing is not seen either.
                break
            found.append(row)
        return found

    def _read(self, rows: Sequence[Accelerator]) -> Mapping[str, DeviceFacts]:
        total, available = host_memory()
        facts = {
            "cpu": DeviceFacts(
                display_name=self._processor,
                memory_total_bytes=total,
                memory_used_bytes=max(0, total - available),
                utilization=self._busy.share(),
            )
        }
        for index, row in enumerate(rows):
            facts[f"cuda:{index}"] = DeviceFacts(
                display_name=row.name,
                memory_total_bytes=row.memory_total_bytes,
                memory_used_bytes=row.memory_used_bytes,
                utilization=row.utilization,
            )
        return facts


def _named(entry: str, rows: Sequence[Accelerator]) -> Accelerator | None:
    """What an entry of CUDA_VISIBLE_DEVICES names: an index, a UUID or the beginning of one, a MIG part."""
    if rows and entry.startswith("MIG-"):
        # The tool's table has whole cards only.
        return Accelerator(
            index="", uuid=entry, name="MIG", memory_total_bytes=0, memory_used_bytes=0, utilization=0.0
        )
    is_uuid = entry.startswith("GPU-")
    return next(
        (row for row in rows if (row.uuid.startswith(entry) if is_uuid else row.index == entry)), None
    )


def host_memory() -> tuple[int, int]:
    """Total and available bytes of memory, within the control group's limit."""
    with suppress(OSError):
        text = Path("/proc/meminfo").read_text()
        fields = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
        sizes = {name: int(kib) << 10 for name, kib in fields}
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
        limit = memory_limit_bytes() or total
        return min(total, limit), min(available, limit)
    return 0, 0


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the control group's quota."""
    cores = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    return cores


def _resolve(setting: str, *, found: int) -> tuple[str, ...]:
    if setting == "auto":
        return tuple(f"cuda:{index}" for index in range(found)) or ("cpu",)
    names = tuple(name.strip() for name in setting.split(","))
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise DeviceError(f'{name!r} is no device: use "auto", "cpu" or "cuda:0,cuda:1"')
        if name != "cpu" and found and int(name.removeprefix("cuda:")) >= found:
            raise DeviceError(f"there is no {name}: {found} found")
    return names


class _Busy:
    """The share of time that the machine's cores work, between two calls."""

    def __init__(self) -> None:
        self._last = _core_times()

    def share(self) -> float:
        (busy, total), (old_busy, old_total) = _core_times(), self._last
        if total - old_total < 10:
            return 0.0
        self._last = busy, total
        return (busy - old_busy) / (total - old_total)


def _core_times() -> tuple[int, int]:
    """Busy and all clock ticks of all cores since the boot."""
    with suppress(OSError, ValueError, IndexError):
        with Path("/proc/stat").open() as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
    return 0, 0


def _processor_name() -> str:
    with suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return match.group(1).strip() if match else ""
    return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
