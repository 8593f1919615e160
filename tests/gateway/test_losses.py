"""What becomes of a job whose attempt is lost, and what people are told."""

import re

import pytest

from tests.support.ledger import ManualClock
from tuneyard.gateway.edits import JobEdit
from tuneyard.gateway.following import describe_exit
from tuneyard.gateway.losses import Loss, apply_loss, memory_remedies
from tuneyard.v1 import job_pb2, training_pb2
from tuneyard.v1.trainer_service_pb2 import RunExit

TASKS = [field.name for field in training_pb2.TrainingSpec.DESCRIPTOR.oneofs_by_name["task"].fields]


@pytest.mark.parametrize("task", TASKS)
def test_remedies_name_fields_that_exist_and_end_with_a_smaller_model(task: str) -> None:
    spec = training_pb2.TrainingSpec()
    getattr(spec, task).SetInParent()
    remedies = memory_remedies(spec)
    paths = re.findall(r"(\w+)\.(\w+)", " ".join(remedies))
    assert len(paths) >= 2
    for message, field in paths:
        assert field in getattr(spec, message).DESCRIPTOR.fields_by_name, (message, field)
    assert (remedies[0].split()[1], remedies[-1]) == (
        "hyperparameters.batch_size",
        "Choose a smaller base model.",
    )


def test_a_base_that_is_quantised_already_is_not_quantised_again() -> None:
    spec = training_pb2.TrainingSpec(language_model=training_pb2.LanguageModel())
    assert any("QLoRA" in remedy for remedy in memory_remedies(spec))
    spec.language_model.method = training_pb2.FINE_TUNING_METHOD_QLORA
    assert not any("QLoRA" in remedy for remedy in memory_remedies(spec))


KILLED = RunExit(signal=9, trainer_restarted=True)
STOPPED = RunExit(signal=9, trainer_restarted=True, trainer_stopped=True)


@pytest.mark.parametrize(
    ("exit_", "advanced", "state", "lost_in_a_row"),
    [
        (STOPPED, False, job_pb2.JOB_STATE_QUEUED, 2),
        (STOPPED, True, job_pb2.JOB_STATE_QUEUED, 0),
        (KILLED, False, job_pb2.JOB_STATE_FAILED, 3),
        (None, False, job_pb2.JOB_STATE_FAILED, 3),
    ],
)
def test_a_trainer_that_was_told_to_stop_is_no_loss_and_one_that_crashed_is(
    exit_: RunExit | None, advanced: bool, state: "job_pb2.JobState.ValueType", lost_in_a_row: int
) -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_RUNNING, desired=job_pb2.DESIRED_STATE_RUN)
    edit = JobEdit(job, ManualClock()(), lost_in_a_row=2)
    apply_loss(edit, Loss(exit=exit_, cause="why", advanced=advanced), max_lost=3)
    assert (job.state, edit.lost_in_a_row) == (state, lost_in_a_row)


def test_it_is_told_whether_the_trainer_stopped_or_came_back() -> None:
    assert describe_exit(STOPPED) == "the trainer was stopped"
    assert describe_exit(KILLED) == "the trainer was restarted"


def test_a_worker_killed_for_its_silence_is_told_as_such() -> None:
    exit_ = RunExit(signal=9, silent=True)
    assert describe_exit(exit_) == "the worker reported nothing for too long and was killed"
