"""The state machine, against a table written down a second time."""

import pytest

from tuneyard.gateway import transitions
from tuneyard.gateway.transitions import ForbiddenTransition, Trigger, next_desired, next_state
from tuneyard.v1 import job_pb2

STATES = [
    "QUEUED", "STARTING", "RUNNING", "FINALIZING", "PAUSING", "PAUSED", "CANCELLING", "SUCCEEDED", "FAILED",
    "CANCELLED",
]  # fmt: skip
SHORT = {
    "Q": "QUEUED", "St": "STARTING", "R": "RUNNING", "Fi": "FINALIZING", "Pg": "PAUSING", "P": "PAUSED",
    "Cg": "CANCELLING", "S": "SUCCEEDED", "F": "FAILED", "C": "CANCELLED",
}  # fmt: skip

# A row is a trigger, a column a state in the order of STATES; "-" is forbidden; "Q/P" is Q where the user
# desires RUN and P where the user desires PAUSE.
EXPECTED = """
dispatch             St   -    -    -    -    -    -    -    -    -
refused              -    Q    -    -    Q/P  -    C    -    -    -
started              -    R    R    Fi   Pg   -    Cg   -    -    -
finalizing           -    Fi   Fi   Fi   Fi   -    Cg   -    -    -
result               -    S    S    S    S    -    S    -    -    -
failed               -    F    F    F    F    -    F    -    -    -
paused               -    Q    Q    Q/P  Q/P  -    C    -    -    -
cancelled            -    Q    Q    Q/P  Q/P  -    C    -    -    -
lost                 -    Q    Q    Q/P  Q/P  -    C    -    -    -
exit_without_end     -    Q    Q    Q/P  Q/P  -    C    -    -    -
damaged_checkpoint   -    Q    Q    Q/P  Q/P  -    C    -    -    -
give_up              -    F    F    F/P  F/P  -    C    -    -    -
cancel_unconfirmed   -    -    -    -    -    -    C    -    -    -
fail                 F    F    F    F    F    -    C    -    -    -
pause                P    Pg   Pg   Fi   Pg   P    -    -    -    -
resume               Q    St   R    Fi   Pg   Q    -    -    -    -
cancel               C    Cg   Cg   Cg   Cg   C    Cg   -    -    C
"""


def _cases() -> list[tuple[str, str, str, str]]:
    cases = []
    for line in EXPECTED.strip().splitlines():
        trigger, *cells = line.split()
        for state, cell in zip(STATES, cells, strict=True):
            run, _, pause = cell.partition("/")
            cases += [(state, trigger, "RUN", run), (state, trigger, "PAUSE", pause or run)]
    return cases


@pytest.mark.parametrize(("state", "trigger", "desired", "expected"), _cases())
def test_each_trigger_leads_from_each_state_to_the_expected_one(
    state: str, trigger: str, desired: str, expected: str
) -> None:
    before = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    wish = job_pb2.DesiredState.Value(f"DESIRED_STATE_{desired}")
    if expected == "-":
        with pytest.raises(ForbiddenTransition):
            next_state(before, Trigger(trigger), desired=wish)
        return
    after = next_state(before, Trigger(trigger), desired=wish)
    assert job_pb2.JobState.Name(after) == f"JOB_STATE_{SHORT[expected]}"


def test_every_trigger_and_every_state_is_in_the_table() -> None:
    assert {line.split()[0] for line in EXPECTED.strip().splitlines()} == set(Trigger)
    assert len(transitions.STATES) == len(STATES) == len(job_pb2.JobState.values()) - 1


def test_only_the_users_own_words_change_what_is_desired() -> None:
    assert next_desired(Trigger.PAUSE, desired=transitions.RUN) == transitions.PAUSE
    assert next_desired(Trigger.RESUME, desired=transitions.PAUSE) == transitions.RUN
    assert next_desired(Trigger.CANCEL, desired=transitions.RUN) == transitions.CANCEL
    others = set(Trigger) - {Trigger.PAUSE, Trigger.RESUME, Trigger.CANCEL}
    assert {next_desired(each, desired=transitions.PAUSE) for each in others} == {transitions.PAUSE}
