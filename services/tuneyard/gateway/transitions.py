"""The job's state machine as data: which trigger leads from which state to which. It stores nothing.

A job has an attempt in STARTING, RUNNING, FINALIZING, PAUSING and CANCELLING, and in no other state. What the
user desires is kept apart from the state; two rules need both: a PAUSING job may have been resumed meanwhile,
and a FINALIZING one may have been asked to pause, which matters only if its worker is lost.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from tuneyard.v1 import job_pb2

State: TypeAlias = "job_pb2.JobState.ValueType"
Desired: TypeAlias = "job_pb2.DesiredState.ValueType"

QUEUED: Final = job_pb2.JOB_STATE_QUEUED
STARTING: Final = job_pb2.JOB_STATE_STARTING
RUNNING: Final = job_pb2.JOB_STATE_RUNNING
FINALIZING: Final = job_pb2.JOB_STATE_FINALIZING
SUCCEEDED: Final = job_pb2.JOB_STATE_SUCCEEDED
FAILED: Final = job_pb2.JOB_STATE_FAILED
CANCELLED: Final = job_pb2.JOB_STATE_CANCELLED
PAUSING: Final = job_pb2.JOB_STATE_PAUSING
PAUSED: Final = job_pb2.JOB_STATE_PAUSED
CANCELLING: Final = job_pb2.JOB_STATE_CANCELLING

RUN: Final = job_pb2.DESIRED_STATE_RUN
PAUSE: Final = job_pb2.DESIRED_STATE_PAUSE
CANCEL: Final = job_pb2.DESIRED_STATE_CANCEL

TERMINAL: Final = frozenset({SUCCEEDED, FAILED, CANCELLED})
WITH_ATTEMPT: Final = frozenset({STARTING, RUNNING, FINALIZING, PAUSING, CANCELLING})
STATES: Final = TERMINAL | WITH_ATTEMPT | {QUEUED, PAUSED}


class Trigger(StrEnum):
    """What can happen to a job."""

    DISPATCH = "dispatch"
    """An attempt was opened for a trainer."""
    REFUSED = "refused"
    """The trainer did not take the attempt; nothing of it ran."""
    STARTED = "started"
    """The worker's recipe began."""
    FINALIZING = "finalizing"
    """The work is done; artifacts are being stored."""
    RESULT = "result"
    """The worker ended with a result."""
    FAILED = "failed"
    """The worker ended by an error that its recipe raised."""
    PAUSED = "paused"
    """The worker saved and left."""
    CANCELLED = "cancelled"
    """The worker left without saving."""
    LOST = "lost"
    """The trainer did not come back within its lease."""
    EXIT_WITHOUT_END = "exit_without_end"
    """The worker is gone, and its journal does not say why."""
    DAMAGED_CHECKPOINT = "damaged_checkpoint"
    """The worker could not go on from its checkpoint, and there is an older one."""
    GIVE_UP = "give_up"
    """The attempt was lost, and another one would not fare better: a crash loop, or too little memory."""
    CANCEL_UNCONFIRMED = "cancel_unconfirmed"
    """The worker did not confirm its end in time."""
    FAIL = "fail"
    """The gateway found that the job cannot run: its dataset is invalid, or it fits no device."""
    PAUSE = "pause"
    """The user asked for a pause."""
    RESUME = "resume"
    """The user asked to go on."""
    CANCEL = "cancel"
    """The user asked for the end."""


class ForbiddenTransition(ValueError):
    """The state does not allow the trigger."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        super().__init__(f"{trigger} is not possible in {job_pb2.JobState.Name(state)}")
        self.state = state
        self.trigger = trigger


_Next: TypeAlias = "State | tuple[State, State]"
"""The state that follows; of two, the one where the user desires RUN, and the one for PAUSE."""

_WORKER_IS_GONE: Final[Mapping[State, _Next]] = {
    STARTING: QUEUED,
    RUNNING: QUEUED,
    FINALIZING: (QUEUED, PAUSED),
    PAUSING: (QUEUED, PAUSED),
    CANCELLING: CANCELLED,
}

TABLE: Final[Mapping[Trigger, Mapping[State, _Next]]] = MappingProxyType(
    {
        Trigger.DISPATCH: {QUEUED: STARTING},
        Trigger.REFUSED: {STARTING: QUEUED, PAUSING: (QUEUED, PAUSED), CANCELLING: CANCELLED},
        Trigger.STARTED: {
            STARTING: RUNNING,
            RUNNING: RUNNING,
            FINALIZING: FINALIZING,
            PAUSING: PAUSING,
            CANCELLING: CANCELLING,
        },
        Trigger.FINALIZING: {
            STARTING: FINALIZING,
            RUNNING: FINALIZING,
            FINALIZING: FINALIZING,
            PAUSING: FINALIZING,
            CANCELLING: CANCELLING,
        },
        # The first committed terminal state wins: what a worker had ended before it heard of a pause or a
        # cancel stands.
        Trigger.RESULT: dict.fromkeys(WITH_ATTEMPT, SUCCEEDED),
        Trigger.FAILED: dict.fromkeys(WITH_ATTEMPT, FAILED),
        Trigger.PAUSED: _WORKER_IS_GONE,
        Trigger.CANCELLED: _WORKER_IS_GONE,
        Trigger.LOST: _WORKER_IS_GONE,
        Trigger.EXIT_WITHOUT_END: _WORKER_IS_GONE,
        Trigger.DAMAGED_CHECKPOINT: _WORKER_IS_GONE,
        Trigger.GIVE_UP: {
            STARTING: FAILED,
            RUNNING: FAILED,
            FINALIZING: (FAILED, PAUSED),
            PAUSING: (FAILED, PAUSED),
            CANCELLING: CANCELLED,
        },
        Trigger.CANCEL_UNCONFIRMED: {CANCELLING: CANCELLED},
        Trigger.FAIL: {
            QUEUED: FAILED,
            STARTING: FAILED,
            RUNNING: FAILED,
            FINALIZING: FAILED,
            PAUSING: FAILED,
            CANCELLING: CANCELLED,
        },
        # A FINALIZING job has nothing left to pause: it takes the wish and ends SUCCEEDED all the same.
        Trigger.PAUSE: {
            QUEUED: PAUSED,
            STARTING: PAUSING,
            RUNNING: PAUSING,
            FINALIZING: FINALIZING,
            PAUSING: PAUSING,
            PAUSED: PAUSED,
        },
        Trigger.RESUME: {
            QUEUED: QUEUED,
            STARTING: STARTING,
            RUNNING: RUNNING,
            FINALIZING: FINALIZING,
            PAUSING: PAUSING,
            PAUSED: QUEUED,
        },
        Trigger.CANCEL: {
            QUEUED: CANCELLED,
            STARTING: CANCELLING,
            RUNNING: CANCELLING,
            FINALIZING: CANCELLING,
            PAUSING: CANCELLING,
            PAUSED: CANCELLED,
            CANCELLING: CANCELLING,
            CANCELLED: CANCELLED,
        },
    }
)

DESIRED_BY: Final[Mapping[Trigger, Desired]] = MappingProxyType(
    {Trigger.PAUSE: PAUSE, Trigger.RESUME: RUN, Trigger.CANCEL: CANCEL}
)


def next_state(state: State, trigger: Trigger, *, desired: Desired) -> State:
    """The state that follows. Raises ForbiddenTransition where the table has no edge."""
    target = TABLE[trigger].get(state)
    if target is None:
        raise ForbiddenTransition(state, trigger)
    if isinstance(target, tuple):
        return target[1] if desired == PAUSE else target[0]
    return target


def next_desired(trigger: Trigger, *, desired: Desired) -> Desired:
    """What the user desires after the trigger: only the user's own words change it."""
    return DESIRED_BY.get(trigger, desired)
