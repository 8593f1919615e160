"""What becomes of a job whose worker is gone without an end record: it is tried again, smaller, or fails."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuneyard.gateway.edits import JobEdit
from tuneyard.gateway.records import warn
from tuneyard.gateway.transitions import CANCELLING, Trigger
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2, training_pb2


@dataclass(frozen=True)
class Loss:
    """An attempt that ended without saying how."""

    exit: trainer_service_pb2.RunExit | None
    """How the worker process ended; None where nobody knows."""
    cause: str
    """The same for people."""
    advanced: bool
    """The attempt stored a checkpoint beyond the step that it began at."""


def apply_loss(edit: JobEdit, loss: Loss, *, max_lost: int) -> str:
    """Move the job on and return the attempt's outcome.

    A lost attempt queues the job again, or leaves it paused or cancelled where the user wants that. After
    `max_lost` in a row without a new checkpoint the job fails. Two kinds are not counted: one that was killed
    for want of memory, which comes back at half the micro-batch until that is one sample, and one whose
    trainer was told to stop.
    """
    if edit.job.state == CANCELLING:
        edit.move(Trigger.CANCEL_UNCONFIRMED if loss.exit is None else Trigger.EXIT_WITHOUT_END)
        return "cancelled"
    if loss.exit is not None and loss.exit.out_of_memory and batch_size(edit.job):
        return _apply_out_of_memory(edit)
    if loss.advanced:
        edit.lost_in_a_row = 0
    elif loss.exit is None or not loss.exit.trainer_stopped:
        edit.lost_in_a_row += 1
    if edit.lost_in_a_row >= max_lost:
        _give_up(edit, crash_loop(edit.job, edit.lost_in_a_row, loss.cause))
        return "lost"
    _warn_of(edit, "attempt_lost", f"attempt {edit.job.attempt_count} was lost: {loss.cause}")
    edit.move(Trigger.LOST if loss.exit is None else Trigger.EXIT_WITHOUT_END, reason=loss.cause)
    return "lost"


def _apply_out_of_memory(edit: JobEdit) -> str:
    halvings = edit.job.micro_batch_halvings + 1
    halved = batch_size(edit.job) >> halvings
    if halved < 1:
        _give_up(edit, out_of_memory(edit.job))
        return "out_of_memory"
    edit.job.micro_batch_halvings = halvings
    _warn_of(
        edit,
        "out_of_memory",
        f"the worker was killed for want of memory; the job goes on with a micro-batch of {halved}",
    )
    edit.move(Trigger.EXIT_WITHOUT_END, reason="out of memory; next attempt at half the micro-batch")
    return "out_of_memory"


def _give_up(edit: JobEdit, error: errors_pb2.JobError) -> None:
    edit.move(Trigger.GIVE_UP, reason=error.message, error=error)


def _warn_of(edit: JobEdit, code: str, message: str) -> None:
    warn(edit, event_pb2.WarningEvent(code=code, message=message))


def batch_size(job: job_pb2.Job) -> int:
    """The resolved micro-batch before any halving; 0 where the job has none."""
    return job.resolved_spec.training.hyperparameters.batch_size


def crash_loop(job: job_pb2.Job, times: int, cause: str) -> errors_pb2.JobError:
    """The error of a job whose attempts are lost again and again."""
    return errors_pb2.JobError(
        reason=errors_pb2.ERROR_REASON_CRASH_LOOP,
        message=f"{times} attempts in a row were lost without a new checkpoint; the last one: {cause}",
        stage=job.progress.stage,
        retryable=True,
        remedies=[
            "Look at the trainer's log: it has what the worker wrote last.",
            "Save checkpoints more often (checkpoints.save_steps), so that each attempt gets further.",
            "Run it again with a smaller batch, fewer samples or a smaller base model.",
        ],
    )


def out_of_memory(job: job_pb2.Job) -> errors_pb2.JobError:
    """The error of a job that does not fit even at one sample per forward pass."""
    return errors_pb2.JobError(
        reason=errors_pb2.ERROR_REASON_OUT_OF_MEMORY,
        message="the worker was killed for want of memory, and the micro-batch cannot be halved any more",
        stage=job.progress.stage,
        remedies=memory_remedies(job.resolved_spec.training),
    )


def memory_remedies(spec: training_pb2.TrainingSpec) -> Sequence[str]:
    """What frees memory, in the guide's order: batch, gradient checkpointing, method, sample size, base."""
    size = {
        "image_classifier": "Lower the image size (image_classifier.image_size).",
        "object_detector": "Lower the image size (object_detector.image_size).",
        "text_to_image_lora": "Lower the resolution (text_to_image_lora.resolution).",
        "language_model": "Lower the length of a sample (language_model.max_length).",
    }
    task = spec.WhichOneof("task") or ""
    remedies = [
        "Lower hyperparameters.batch_size and raise gradient_accumulation_steps to keep the effective batch.",
        f"Turn on gradient checkpointing ({task}.gradient_checkpointing)." if _checkpoints(task) else "",
        "Use QLoRA (language_model.method)." if _could_be_quantized(spec) else "",
        size.get(task, ""),
        "Choose a smaller base model.",
    ]
    return [remedy for remedy in remedies if remedy]


def _checkpoints(task: str) -> bool:
    field = training_pb2.TrainingSpec.DESCRIPTOR.fields_by_name.get(task)
    message = field.message_type if field else None
    return message is not None and "gradient_checkpointing" in message.fields_by_name


def _could_be_quantized(spec: training_pb2.TrainingSpec) -> bool:
    return (
        spec.HasField("language_model")
        and spec.language_model.method != training_pb2.FINE_TUNING_METHOD_QLORA
    )
