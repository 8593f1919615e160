"""What a trainer tells about itself: health, devices, slots, catalogue, and what is wrong."""

import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuneyard.trainer.data_folder import DataFolder
from tuneyard.trainer.devices import Devices, host_memory
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.launcher import Launcher
from tuneyard.trainer.runs import Runs
from tuneyard.trainer.slots import Slots
from tuneyard.v1.errors_pb2 import ErrorReason
from tuneyard.v1.system_pb2 import Device, SlotKind, Trainer, TrainerHealth
from tuneyard.v1.trainer_service_pb2 import GetTrainerInfoResponse

_UNSPECIFIED = ErrorReason.ERROR_REASON_UNSPECIFIED
_STORE_UNAVAILABLE = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
_STORE_MARKER = "signing.key"
"""A file that every folder store has in its root."""


class Description:
    """Answers who the trainer is, from facts that others keep fresh."""

    def __init__(
        self,
        family: TrainerFamily,
        *,
        data: DataFolder,
        devices: Devices,
        slots: Slots,
        launcher: Launcher,
        runs: Runs,
        store_url: str,
        boot_id: str,
    ) -> None:
        self._family = family
        self._data = data
        self._devices = devices
        self._slots = slots
        self._launcher = launcher
        self._runs = runs
        self._store_url = store_url
        self._boot_id = boot_id
        self._version = _version()

    def response(self) -> GetTrainerInfoResponse:
        """The whole answer to GetTrainerInfo."""
        problem = store_problem(self._store_url)
        return GetTrainerInfoResponse(
            trainer=self._trainer(problem),
            base_models=self._family.base_models(),
            free_device_slots=self._slots.free(SlotKind.SLOT_KIND_DEVICE),
            free_cpu_slots=self._slots.free(SlotKind.SLOT_KIND_CPU),
            boot_id=self._boot_id,
            problem=_STORE_UNAVAILABLE if problem else _UNSPECIFIED,
        )

    def devices(self) -> list[Device]:
        """One message per device slot."""
        return [self._device(name, job) for name, job in self._slots.devices()]

    def _trainer(self, store_problem: str) -> Trainer:
        launcher = self._launcher.state
        if store_problem or not launcher.usable:
            health = TrainerHealth.TRAINER_HEALTH_DEGRADED
        elif not launcher.ready:
            health = TrainerHealth.TRAINER_HEALTH_STARTING
        else:
            health = TrainerHealth.TRAINER_HEALTH_READY
        trainer = Trainer(
            id=self._data.trainer_id,
            family=self._family.family,
            health=health,
            problem="; ".join(filter(None, (store_problem, launcher.problem))),
            devices=self.devices(),
            version=self._version,
            running_jobs=self._runs.running_jobs(),
            tasks=self._family.tasks,
            disk_free_bytes=shutil.disk_usage(self._data.path).free,
            host_memory_bytes=host_memory()[0],
            warm=launcher.warm,
        )
        trainer.last_seen_time.FromDatetime(datetime.now(UTC))
        return trainer

    def _device(self, name: str, job: str) -> Device:
        facts = self._devices.facts(name)
        return Device(
            id=name,
            display_name=facts.display_name,
            memory_total_bytes=facts.memory_total_bytes,
            memory_used_bytes=facts.memory_used_bytes,
            job=job,
            utilization=facts.utilization,
        )


def store_problem(store_url: str) -> str:
    """Why this trainer cannot use the store, for people; empty if nothing speaks against it.

    A folder is never created here: it would hide that the gateway's folder is on another machine.
    """
    parts = urlsplit(store_url)
    if parts.scheme not in ("", "file"):
        return ""
    root = Path(unquote(parts.path))
    if (root / _STORE_MARKER).is_file():
        return ""
    return (
        "the store is a folder, and it is not on this machine: run the trainer where the gateway runs, "
        "or set TUNEYARD_STORE to s3://… on both"
    )


def _version() -> str:
    try:
        return version("tuneyard")
    except PackageNotFoundError:
        return ""
