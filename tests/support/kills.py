"""Killing parts of a platform, and what must hold of a job whatever was killed meanwhile."""

import psutil

from tests.support.platform import Platform, assert_gapless
from tuneyard.v1 import event_pb2, job_pb2

TARGETS = ("gateway", "trainer", "warm", "worker")


def kill(platform: Platform, target: str) -> bool:
    """Kills one process, and starts it again where nobody else does; False if there was none to kill."""
    if target == "gateway":
        platform.gateway.restart()
        return True
    if target == "trainer":
        platform.trainer.restart()
        return True
    found = (
        platform.trainer.children(of_module="tuneyard.trainer.warm")[:1]
        if target == "warm"
        else platform.workers()
    )
    return sum(end(process) for process in found) > 0


def end(process: psutil.Process) -> bool:
    """Kills a process; False if it was faster."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def assert_truthful(platform: Platform, name: str, events: list[event_pb2.JobEvent]) -> job_pb2.Job:
    """The log has no gap, the job succeeded, and the number of attempts is the number that were started."""
    assert_gapless(events)
    job = platform.job(name)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.last_sequence == events[-1].sequence
    starts = [e for e in events if e.state_change.to == job_pb2.JOB_STATE_STARTING]
    assert job.attempt_count == len({e.attempt for e in starts}) == max(e.attempt for e in events)
    return job
