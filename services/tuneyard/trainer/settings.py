"""What a worker process is told beside its request: written by the trainer's server, read by the worker.

Nothing here is about what is trained; that is the request.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from tuneyard.storage import StoreSettings

OUT_OF_MEMORY_EXIT_CODE = 71
"""A worker leaves with this code, and without an end in its journal, where memory ran out in the
optimizer's update: the attempt is to be resumed from the newest checkpoint at half the micro-batch.
"""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    # The tokenizers library's pool; it reads it at its first use, not when it is loaded.
    "RAYON_NUM_THREADS",
)


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that tell native libraries how many threads to compute with."""
    return {name: str(threads) for name in _THREAD_VARIABLES}


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Everything that one worker process needs to know about the machine and the store."""

    family_entry: str
    """The module with the family's `execute`, such as "tuneyard.vision.entry"."""
    device: str
    """Either "cpu", or "cuda:1" by its index on the machine."""
    cpu_threads: int
    """Threads for tensor arithmetic."""
    store_url: str
    """The object store, as `open_store` takes it."""
    store: StoreSettings = field(repr=False)
    """Credentials and timeouts of the store."""
    cache_dir: Path
    """Datasets, models and derived data, shared by all runs of the trainer."""
    cache_limit_bytes: int
    """The size above which unused entries of the cache are removed, oldest use first; 0 means never."""
    wake_socket: Path | None
    """The server's datagram socket, which is sent the run folder's name after each record."""
    parent_pid: int
    """The process whose death ends the worker; 0 for none."""
    accelerators: tuple[str, ...] = ()
    """Those of the trainer, such as "cuda:0"; a run that asked for the processor sees none of them."""
    store_patience: timedelta = timedelta(minutes=5)
    """How long a transfer is tried again while the store does not answer; training goes on meanwhile."""
    silence_warning: timedelta = timedelta(0)
    """How long the recipe may report nothing before a warning says so; 0 means for ever."""
    faults: str = ""
    """Faults to inject, as `faults` describes them; only tests set it."""

    def write(self, path: Path) -> None:
        """Writes the settings as JSON that only the owner can read: the store's credentials are in it."""
        values = asdict(self) | {
            "cache_dir": str(self.cache_dir),
            "wake_socket": str(self.wake_socket) if self.wake_socket else None,
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(values, file, default=_seconds)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings that `write` wrote; raises OSError, ValueError, KeyError or TypeError for anything
        else.
        """
        values: dict[str, Any] = json.loads(path.read_text())
        wake_socket = values["wake_socket"]
        return cls(
            **values
            | {
                "store": StoreSettings(**_timed(StoreSettings, values["store"])),
                "cache_dir": Path(values["cache_dir"]),
                "wake_socket": Path(wake_socket) if wake_socket else None,
                "accelerators": tuple(values["accelerators"]),
                "store_patience": timedelta(seconds=values["store_patience"]),
                "silence_warning": timedelta(seconds=values["silence_warning"]),
            }
        )


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _timed(kind: type[StoreSettings], values: dict[str, Any]) -> dict[str, Any]:
    """The values with seconds turned back into what the dataclass has."""
    durations = {f.name for f in fields(kind) if f.type is timedelta or f.type == "timedelta"}
    return {name: timedelta(seconds=value) if name in durations else value for name, value in values.items()}
