"""Who has which slot: one run per device slot, and a few beside them for merge and export.

A slot that no run has may be lent to a guest, who gives it back as soon as a run wants it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tuneyard.trainer.run_folder import RunKey
from tuneyard.v1.system_pb2 import SlotKind


class Guest(Protocol):
    """Uses a device as long as no run wants it."""

    @property
    def used_at(self) -> float:
        """When it was last of use, by a clock that all guests share."""
        ...

    async def leave(self) -> None:
        """End at once; returns when nothing of it is alive."""
        ...


@dataclass
class _Place:
    """One slot."""

    kind: "SlotKind.ValueType"
    device: str
    holder: RunKey | None = None
    guest: Guest | None = None


class Slots:
    """The trainer's slots. `devices` names each slot's device; a device named twice has two slots."""

    def __init__(self, devices: Sequence[str], *, cpu_slots: int) -> None:
        self._places = [_Place(SlotKind.SLOT_KIND_DEVICE, device) for device in devices]
        self._places += [_Place(SlotKind.SLOT_KIND_CPU, "cpu") for _ in range(cpu_slots)]

    def acquire(self, kind: "SlotKind.ValueType", holder: RunKey) -> str | None:
        """Give the holder a slot without a run and return its device; None if there is none.

        Where a guest is in every such slot, it is the one whose guest was of use longest ago: see `guest_of`.
        """
        wanted = kind or SlotKind.SLOT_KIND_DEVICE
        open_places = [place for place in self._places if place.kind == wanted and place.holder is None]
        if not open_places:
            return None
        place = min(open_places, key=lambda place: place.guest.used_at if place.guest else float("-inf"))
        place.holder = holder
        return place.device

    def release(self, holder: RunKey) -> None:
        """Free the holder's slot, if it has one."""
        for place in self._places:
            if place.holder == holder:
                place.holder = None

    def guest_of(self, holder: RunKey) -> Guest | None:
        """Who is still in the holder's slot, and has to leave it."""
        return next((place.guest for place in self._places if place.holder == holder), None)

    def admit(self, guest: Guest) -> str | None:
        """Lend the guest a device that nobody has and return it; None if there is none."""
        for place in self._places:
            if place.kind == SlotKind.SLOT_KIND_DEVICE and place.holder is None and place.guest is None:
                place.guest = guest
                return place.device
        return None

    def dismiss(self, guest: Guest) -> None:
        """The guest has left its slot, if it had one."""
        for place in self._places:
            if place.guest is guest:
                place.guest = None

    def free(self, kind: "SlotKind.ValueType") -> int:
        """How many slots of the kind a run can have; guests do not count."""
        return sum(place.kind == kind and place.holder is None for place in self._places)

    def devices(self) -> list[tuple[str, str]]:
        """Each device slot's device, and the job that has it, or ""."""
        return [
            (place.device, place.holder.job if place.holder else "")
            for place in self._places
            if place.kind == SlotKind.SLOT_KIND_DEVICE
        ]
