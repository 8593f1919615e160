from collections.abc import Sequence

import pytest

from tuneyard.trainer.devices import Accelerator, DeviceError, Devices, parse_accelerators

TABLE = """\
0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559, 523, 37
1, GPU-bbbb, "Card, the second", 24576, 0, [N/A]
"""


def two() -> Sequence[Accelerator]:
    return parse_accelerators(TABLE)


def none() -> Sequence[Accelerator]:
    return []


def test_the_tools_table_is_read_with_units_and_unknowns() -> None:
    first, second = two()
    assert (first.name, first.memory_total_bytes, first.utilization) == (
        "NVIDIA H100 80GB HBM3",
        81559 << 20,
        0.37,
    )
    assert (second.name, second.uuid, second.utilization) == ("Card, the second", "GPU-bbbb", 0)


def test_auto_takes_every_accelerator_and_else_the_processor() -> None:
    assert Devices("auto", query=two).names == ("cuda:0", "cuda:1")
    assert Devices("auto", query=none).names == ("cpu",)


def test_the_processor_reports_its_memory() -> None:
    facts = Devices("cpu", query=none).facts("cpu")
    assert facts.display_name and 0 < facts.memory_used_bytes < facts.memory_total_bytes


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no cuda:2: 2 found"):
        Devices("cuda:2", query=two)
    with pytest.raises(DeviceError, match="no device"):
        Devices("gpu", query=two)


def test_accelerators_are_taken_by_name_where_the_tool_is_missing() -> None:
    devices = Devices("cuda:0", query=none)
    assert devices.names == ("cuda:0",) and devices.facts("cuda:0").memory_total_bytes == 0


def test_a_worker_sees_its_device_alone() -> None:
    devices = Devices("auto", query=two)
    assert devices.environment("cuda:1") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}
    assert devices.environment("cpu") == {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(("visible", "entry"), [("1", "1"), ("GPU-bbbb", "GPU-bbbb")])
def test_only_visible_accelerators_count(visible: str, entry: str) -> None:
    devices = Devices("auto", visible=visible, query=two)
    assert devices.names == ("cuda:0",)
    assert devices.facts("cuda:0").display_name == "Card, the second"
    assert devices.environment("cuda:0")["CUDA_VISIBLE_DEVICES"] == entry


@pytest.mark.parametrize(("visible", "names"), [("GPU-b,9,0", ("cuda:0",)), ("9,0", ("cpu",))])
def test_behind_an_entry_that_names_nothing_none_is_seen(visible: str, names: tuple[str, ...]) -> None:
    # As CUDA has it, for which the worker's cuda:0 must be the one that is told of.
    devices = Devices("auto", visible=visible, query=two)
    assert devices.names == names
    assert "cuda:1" not in devices.names and not devices.facts("cuda:1").display_name


def test_a_part_of_an_accelerator_is_one_whose_memory_is_not_known() -> None:
    devices = Devices("auto", visible="MIG-cccc", query=two)
    assert devices.names == ("cuda:0",) and devices.facts("cuda:0").memory_total_bytes == 0
    assert devices.environment("cuda:0")["CUDA_VISIBLE_DEVICES"] == "MIG-cccc"


def test_no_visible_accelerator_leaves_the_processor() -> None:
    assert Devices("auto", visible="", query=two).names == ("cpu",)


def test_facts_are_as_of_the_last_refresh() -> None:
    tables = [TABLE, TABLE.replace("523", "9000")]
    devices = Devices("auto", query=lambda: parse_accelerators(tables[0]))
    del tables[0]
    assert devices.facts("cuda:0").memory_used_bytes == 523 << 20
    devices.refresh()
    assert devices.facts("cuda:0").memory_used_bytes == 9000 << 20
