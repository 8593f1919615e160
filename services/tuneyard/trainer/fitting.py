"""Makes recommended settings fit a device whose memory they exceed, at an unchanged effective batch.

What a caller sets is never changed, and nothing is predicted here: a family says what settings need. Imports
no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tuneyard.trainer.estimates import Violation, Weighed, violation
from tuneyard.v1 import system_pb2, training_pb2

ACCELERATOR_SHARE, HOST_SHARE = 0.95, 0.9
"""What a job may use of a device: memory is fragmented, and a host has other programs."""

Work = TypeVar("Work", bound=Weighed)
_Spec = training_pb2.TrainingSpec


def usable_bytes(memory_bytes: int, *, on_cpu: bool) -> int:
    """What a job may need of a device with so much memory; 0 where that is not known."""
    return round(memory_bytes * (HOST_SHARE if on_cpu else ACCELERATOR_SHARE))


def halves(size: int) -> Iterator[int]:
    """The size, half of it, and so on down to 1."""
    while size:
        yield size
        size //= 2


def gigabytes(count: int) -> str:
    """As the guide and the makers of cards count: 10^9 bytes."""
    return f"{count / 1e9:.1f} GB"


def fitted(
    given: _Spec, resolved: _Spec, device: system_pb2.Device, *, work_of: Callable[[_Spec], Work]
) -> tuple[_Spec, Work, Sequence[Violation]]:
    """The resolved settings as they fit the device, their work, and a warning where they were changed.

    Where the caller left the batch to the recommendation and that does not fit, the effective batch is kept:
    with smaller micro-batches, and where these do not suffice, with gradient checkpointing. Where nothing
    fits, the smallest of these is returned, to tell how near it comes.
    """
    on_cpu, work, hyper = device.id == "cpu", work_of(resolved), given.hyperparameters
    limit = usable_bytes(device.memory_total_bytes, on_cpu=on_cpu)
    is_given = hyper.HasField("batch_size") or hyper.HasField("gradient_accumulation_steps")
    if is_given or not limit or work.need(on_cpu=on_cpu) <= limit:
        return resolved, work, ()
    for smaller in _smaller(resolved, may_checkpoint=not _task(given).HasField("gradient_checkpointing")):
        less = work_of(smaller)
        if less.need(on_cpu=on_cpu) <= limit:
            needs = (gigabytes(work.need(on_cpu=on_cpu)), gigabytes(less.need(on_cpu=on_cpu)))
            return smaller, less, (_made_smaller(resolved, smaller, needs, device.id),)
    return smaller, less, ()


def _smaller(resolved: _Spec, *, may_checkpoint: bool) -> Iterator[_Spec]:
    """The same samples per step, with less and less at once."""
    effective = resolved.hyperparameters.batch_size * resolved.hyperparameters.gradient_accumulation_steps
    checkpoints = _task(resolved).gradient_checkpointing
    for checkpointing in [checkpoints, True] if may_checkpoint and not checkpoints else [checkpoints]:
        for size in halves(resolved.hyperparameters.batch_size):
            smaller = _Spec()
            smaller.CopyFrom(resolved)
            smaller.hyperparameters.batch_size = size
            smaller.hyperparameters.gradient_accumulation_steps = effective // size
            _task(smaller).gradient_checkpointing = checkpointing
            yield smaller


def _made_smaller(wanted: _Spec, smaller: _Spec, needs: tuple[str, str], device: str) -> Violation:
    hyper, accumulation = smaller.hyperparameters, smaller.hyperparameters.gradient_accumulation_steps
    effective = hyper.batch_size * accumulation
    checkpoints = _task(smaller).gradient_checkpointing and not _task(wanted).gradient_checkpointing
    how = " and gradient checkpointing" if checkpoints else ""
    return violation(
        "hyperparameters.batch_size",
        f"The recommended batch of {wanted.hyperparameters.batch_size} needs about {needs[0]}, more than"
        f" {device} has to spare: with batch {hyper.batch_size} x accumulation {accumulation}{how} the"
        f" effective batch stays {effective}, in about {needs[1]}.",
    )


def _task(spec: _Spec) -> Any:
    """The message of the task, in families that can checkpoint."""
    return getattr(spec, spec.WhichOneof("task") or "")
