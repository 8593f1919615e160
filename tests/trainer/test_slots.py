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
