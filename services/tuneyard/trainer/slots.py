"""Who has which slot: one run per device slot, and a few beside them for merge and export."""

from collections.abc import Sequence

from tuneyard.trainer.run_folder import RunKey
from tuneyard.v1.system_pb2 import SlotKind


class Slots:
    """The trainer's slots. `devices` names each slot's device; a device named twice has two slots."""

    def __init__(self, devices: Sequence[str], *, cpu_slots: int) -> None:
        self._places = [(SlotKind.SLOT_KIND_DEVICE, device) for device in devices]
        self._places += [(SlotKind.SLOT_KIND_CPU, "cpu")] * cpu_slots
        self._holders: list[RunKey | None] = [None] * len(self._places)

    def acquire(self, kind: "SlotKind.ValueType", holder: RunKey) -> str | None:
        """Give the holder a free slot and return its device; None if there is none."""
        wanted = kind or SlotKind.SLOT_KIND_DEVICE
        for index, (place, device) in enumerate(self._places):
            if place == wanted and self._holders[index] is None:
                self._holders[index] = holder
                return device
        return None

    def release(self, holder: RunKey) -> None:
        """Free the holder's slot, if it has one."""
        self._holders = [None if key == holder else key for key in self._holders]

    def free(self, kind: "SlotKind.ValueType") -> int:
        """How many slots of the kind are free."""
        return sum(
            place == kind and key is None for (place, _), key in zip(self._places, self._holders, strict=True)
        )

    def devices(self) -> list[tuple[str, str]]:
        """Each device slot's device, and the job that has it, or ""."""
        return [
            (device, key.job if key else "")
            for (place, device), key in zip(self._places, self._holders, strict=True)
            if place == SlotKind.SLOT_KIND_DEVICE
        ]
