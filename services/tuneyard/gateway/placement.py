"""Compares what jobs are predicted to need with what trainers have. It asks nobody and changes nothing.

What a trainer does not tell of itself counts as enough: its own refusals have the last word.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuneyard.gateway.trainers import TrainerLink
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, system_pb2


@dataclass(frozen=True)
class Shortage:
    """What a trainer has too little of for a job."""

    resource: str
    needed_bytes: int
    present_bytes: int
    trainer: str

    def __str__(self) -> str:
        needed, present = _gigabytes(self.needed_bytes), _gigabytes(self.present_bytes)
        return f"{needed} of {self.resource}: {self.trainer} has {present}"


def free_slots(link: TrainerLink, pending: Counter[int]) -> Counter[int]:
    """How many runs of each kind of slot a trainer can take, besides those it was not asked to start yet."""
    if link.info is None:
        return Counter()
    free = Counter(
        {
            int(system_pb2.SLOT_KIND_DEVICE): link.info.free_device_slots,
            int(system_pb2.SLOT_KIND_CPU): link.info.free_cpu_slots,
        }
    )
    free.subtract(pending)
    return free


def still_to_write(job: job_pb2.Job) -> int:
    """The bytes that a running job is predicted to need yet of its trainer's disk; rather too many.

    Until the first step that is everything. From then on its data is on the disk, and what is left is the
    model and the kept checkpoints: weights with an optimizer's two values for each, and one more under way.
    """
    estimate, policy = job.estimate, job.resolved_spec.training.checkpoints
    if not job.progress.step:
        return estimate.disk_bytes
    checkpoints = policy.keep_last + policy.keep_best + 1
    return min(estimate.disk_bytes, estimate.artifact_bytes * (1 + 3 * checkpoints))


def choose(
    links: Sequence[TrainerLink], estimate: job_pb2.Estimate, *, reserved: Mapping[str, int]
) -> TrainerLink | Shortage:
    """The first of some trainers that can hold a job; else what the one that comes closest lacks.

    `reserved` has, by a trainer's address, the bytes of its free disk that its running jobs need yet.
    """
    shortages = []
    for link in links:
        shortage = _shortage(link, estimate, reserved=reserved.get(link.address.target, 0))
        if shortage is None:
            return link
        shortages.append(shortage)
    return max(shortages, key=lambda found: found.present_bytes / found.needed_bytes)


def require_disk(links: Iterable[TrainerLink], estimate: job_pb2.Estimate) -> None:
    """Raise STORAGE_FULL with the numbers where no trainer that can be reached has the disk space."""
    free = [link.info.trainer.disk_free_bytes for link in links if link.reachable and link.info]
    if not free or not all(free) or estimate.disk_bytes <= max(free):
        return
    raise TuneyardError(
        "STORAGE_FULL",
        f"the job needs about {_gigabytes(estimate.disk_bytes)} of disk space on its trainer, and no trainer "
        f"of its family has more than {_gigabytes(max(free))} free",
        metadata={"disk_bytes": str(estimate.disk_bytes), "disk_free_bytes": str(max(free))},
    )


def _shortage(link: TrainerLink, estimate: job_pb2.Estimate, *, reserved: int) -> Shortage | None:
    trainer = link.info.trainer if link.info else system_pb2.Trainer()
    devices = [device.memory_total_bytes for device in trainer.devices if not device.job]
    largest = max(devices, default=0) if all(devices) else 0
    disk = trainer.disk_free_bytes
    for resource, needed, present in (
        ("memory on a free device", estimate.memory.device_bytes, largest),
        ("memory", estimate.memory.host_bytes, trainer.host_memory_bytes),
        # Less than nothing is still known to be too little: 0 stands for "not told".
        ("free disk space", estimate.disk_bytes, max(1, disk - reserved) if disk else 0),
    ):
        if 0 < present < needed:
            return Shortage(resource, needed, present, link.address.target)
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
