from tuneyard.trainer.run_folder import RunKey
from tuneyard.trainer.slots import Slots
from tuneyard.v1.system_pb2 import SlotKind

DEVICE, CPU = SlotKind.SLOT_KIND_DEVICE, SlotKind.SLOT_KIND_CPU
A, B, C = RunKey("jobs/a", 1), RunKey("jobs/b", 1), RunKey("jobs/c", 1)


def test_each_run_gets_a_device_of_its_own_until_there_is_none() -> None:
    slots = Slots(["cuda:0", "cuda:1"], cpu_slots=1)
    assert [slots.acquire(DEVICE, key) for key in (A, B, C)] == ["cuda:0", "cuda:1", None]
    assert slots.free(DEVICE) == 0


def test_a_released_slot_is_given_again() -> None:
    slots = Slots(["cuda:0", "cuda:1"], cpu_slots=1)
    slots.acquire(DEVICE, A)
    slots.acquire(DEVICE, B)
    slots.release(A)
    slots.release(A)
    assert slots.acquire(DEVICE, C) == "cuda:0"


def test_a_merge_takes_no_device() -> None:
    slots = Slots(["cuda:0"], cpu_slots=1)
    assert slots.acquire(CPU, A) == "cpu"
    assert (slots.free(CPU), slots.free(DEVICE)) == (0, 1)


def test_a_device_named_twice_has_two_slots() -> None:
    slots = Slots(["cpu", "cpu"], cpu_slots=0)
    assert [slots.acquire(DEVICE, key) for key in (A, B, C)] == ["cpu", "cpu", None]
    assert slots.devices() == [("cpu", "jobs/a"), ("cpu", "jobs/b")]


def test_a_kind_that_is_not_set_means_a_device() -> None:
    assert Slots(["cuda:0"], cpu_slots=1).acquire(SlotKind.SLOT_KIND_UNSPECIFIED, A) == "cuda:0"


class Visitor:
    """A guest that was last of use at a time."""

    def __init__(self, used_at: float = 0.0) -> None:
        self.used_at = used_at

    async def leave(self) -> None:
        """Not called by the slots."""


def test_a_guest_gets_a_device_that_nobody_has() -> None:
    slots = Slots(["cuda:0", "cuda:1"], cpu_slots=1)
    slots.acquire(DEVICE, A)
    assert [slots.admit(Visitor()), slots.admit(Visitor())] == ["cuda:1", None]


def test_a_guest_counts_neither_as_a_run_nor_against_what_is_free() -> None:
    slots = Slots(["cuda:0"], cpu_slots=1)
    slots.admit(Visitor())
    assert (slots.free(DEVICE), slots.devices()) == (1, [("cuda:0", "")])


def test_a_run_takes_an_empty_device_before_that_of_a_guest() -> None:
    slots = Slots(["cuda:0", "cuda:1"], cpu_slots=1)
    slots.admit(Visitor())
    assert slots.acquire(DEVICE, A) == "cuda:1"
    assert slots.guest_of(A) is None


def test_of_several_guests_the_one_unused_for_longest_has_to_leave() -> None:
    slots = Slots(["cuda:0", "cuda:1"], cpu_slots=1)
    newer, older = Visitor(20.0), Visitor(10.0)
    slots.admit(newer)
    slots.admit(older)
    assert slots.acquire(DEVICE, A) == "cuda:1"
    assert slots.guest_of(A) is older


def test_a_device_is_lent_again_only_when_its_guest_is_gone() -> None:
    slots = Slots(["cuda:0"], cpu_slots=1)
    guest = Visitor()
    slots.admit(guest)
    slots.acquire(DEVICE, A)
    slots.release(A)
    assert slots.admit(Visitor()) is None
    slots.dismiss(guest)
    assert slots.admit(Visitor()) == "cuda:0"
