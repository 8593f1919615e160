import subprocess
import sys
from types import ModuleType

import pytest

from tuneyard.trainer import memory
from tuneyard.trainer.memory import Memory, PeakMemory

USED = """
import numpy as np
from tuneyard.trainer.memory import measure
before = measure().host_bytes
block = np.ones(8 << 20)
print((measure().host_bytes - before) / block.nbytes)
"""


def test_memory_that_is_used_is_counted() -> None:
    # In a process of its own: in one that many tests have used, memory is given back at the same time.
    told = subprocess.run([sys.executable, "-c", USED], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert 0.9 < float(told) < 1.2


def test_a_peak_is_told_only_when_it_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(Memory(host_bytes=size) for size in (100, 103, 50, 110))
    monkeypatch.setattr(memory, "measure", lambda: next(readings))
    peak = PeakMemory()
    assert [peak.sample() for _ in range(4)] == [Memory(100), None, None, Memory(110)]


def test_memory_is_measured_while_another_thread_imports_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    # As torch is found at the beginning of its import.
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert memory.measure().host_bytes > 0
