import numpy as np
import pytest

from tuneyard.trainer import memory
from tuneyard.trainer.memory import Memory, PeakMemory, measure


def test_memory_that_is_used_is_counted() -> None:
    before = measure().host_bytes
    # Larger than anything that glibc takes from memory that was used and freed before.
    block = np.ones(8 << 20)
    assert measure().host_bytes - before > 0.9 * block.nbytes


def test_a_peak_is_told_only_when_it_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(Memory(host_bytes=size) for size in (100, 103, 50, 110))
    monkeypatch.setattr(memory, "measure", lambda: next(readings))
    peak = PeakMemory()
    assert [peak.sample() for _ in range(4)] == [Memory(100), None, None, Memory(110)]
