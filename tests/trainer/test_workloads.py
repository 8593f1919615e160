import pytest

from tuneyard.trainer import workloads
from tuneyard.trainer.workloads import GIB, device_size, is_half, largest_batch, optimizer_kind
from tuneyard.v1 import training_pb2


@pytest.mark.parametrize(
    ("limit", "largest"), [(99, 0), (100, 1), (149, 1), (150, 2), (500, 9), (10**9, 127)]
)
def test_the_largest_batch_within_a_limit_is_found(limit: int, largest: int) -> None:
    assert largest_batch(limit, need_of=lambda size: 50 + 50 * size, most=64) == largest


@pytest.mark.parametrize(
    ("precision", "on_cpu", "has_bf16", "half"),
    [
        (training_pb2.PRECISION_AUTO, False, False, True),
        (training_pb2.PRECISION_AUTO, True, False, False),
        (training_pb2.PRECISION_AUTO, True, True, True),
        (training_pb2.PRECISION_BF16, True, False, True),
        (training_pb2.PRECISION_FP16, False, False, True),
        (training_pb2.PRECISION_FP32, False, True, False),
    ],
)
def test_the_device_decides_where_no_precision_is_named(
    monkeypatch: pytest.MonkeyPatch,
    precision: "training_pb2.Precision.ValueType",
    on_cpu: bool,
    has_bf16: bool,
    half: bool,
) -> None:
    monkeypatch.setattr(workloads, "cpu_multiplies_bf16", lambda: has_bf16)
    assert is_half(precision, on_cpu=on_cpu) is half


def test_paged_state_is_as_small_as_other_8_bit_state() -> None:
    paged, plain = training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT, training_pb2.OPTIMIZER_ADAMW_8BIT
    assert optimizer_kind(paged) == optimizer_kind(plain) == "8bit"
    assert optimizer_kind(training_pb2.OPTIMIZER_UNSPECIFIED) == "adamw"


def test_devices_come_in_whole_gib_and_have_some_to_spare() -> None:
    assert device_size(1) == GIB
    assert device_size(8 * GIB) == 9 * GIB
