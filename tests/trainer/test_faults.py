import subprocess
import sys

import pytest

from tuneyard.trainer.faults import Faults


def test_no_plan_is_no_fault() -> None:
    faults = Faults()
    faults.reach("step=1")
    assert not faults


def test_a_fault_happens_at_its_point_once() -> None:
    faults = Faults("oom@step=7")
    faults.reach("step=6")
    with pytest.raises(MemoryError):
        faults.reach("step=7")
    faults.reach("step=7")


def test_a_fault_can_be_repeated() -> None:
    faults = Faults("exception@evaluatex2")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            faults.reach("evaluate")
    faults.reach("evaluate")


def test_a_fault_can_be_limited_to_an_attempt() -> None:
    Faults("oom@step=7#2", attempt=1).reach("step=7")
    with pytest.raises(MemoryError):
        Faults("oom@step=7#2", attempt=2).reach("step=7")


def test_a_slow_step_sleeps_at_every_step() -> None:
    slept: list[float] = []
    faults = Faults("slow_step=0.05, store_down=2s", sleep=slept.append)
    for point in ("step=1", "step=2", "evaluate"):
        faults.reach(point)
    assert slept == [0.05, 0.05]
    assert faults.store_down_seconds == 2


@pytest.mark.parametrize("plan", ["nonsense", "oom@", "oom@step=x", "slow_step=fast"])
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    with pytest.raises(ValueError):
        Faults(plan)


@pytest.mark.integration
def test_a_crash_kills_the_process() -> None:
    script = "from tuneyard.trainer.faults import Faults; Faults('crash@step=5').reach('step=5')"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == -9
