"""What the estimates of all families are put together from; what a job needs a family says. Imports no torch.

Nothing is predicted here, and no spec is judged.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from tuneyard.v1 import errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2

Request = trainer_service_pb2.TrainerServiceEstimateRequest
Response = trainer_service_pb2.TrainerServiceEstimateResponse
Violation = errors_pb2.FieldViolation
_MAX_VIOLATIONS = 50
"""More of them tell nothing new, and must fit into an answer's trailers."""


class Weighed(Protocol):
    """A piece of work whose memory is predicted."""

    def device_bytes(self) -> int:
        """The peak on an accelerator."""
        ...

    def host_bytes(self, *, on_cpu: bool) -> int:
        """The peak on the host."""
        ...

    def need(self, *, on_cpu: bool) -> int:
        """What decides whether it fits where it trains."""
        ...


Work = TypeVar("Work", bound=Weighed)


@dataclass(frozen=True)
class Offer(Generic[Work]):
    """A change of settings that needs less."""

    description: str
    changes: Mapping[str, object]
    """Values by the path of their field."""
    workload: Work


class Refused(Exception):
    """A spec of which nothing can be predicted."""

    def __init__(self, reason: "errors_pb2.ErrorReason.ValueType", violation: Violation) -> None:
        super().__init__(violation.description)
        self.reason = reason
        self.violation = violation


def violation(field: str, description: str) -> Violation:
    """Something wrong with a field of the spec, named from its root: "hyperparameters.epochs"."""
    return Violation(field=f"spec.{field}", description=description)


def refused(reason: "errors_pb2.ErrorReason.ValueType", *violations: Violation) -> Response:
    """The answer to a spec of which nothing is predicted."""
    return Response(estimate=job_pb2.Estimate(violations=violations), reason=reason)


def told(violations: Sequence[Violation]) -> list[Violation]:
    """The violations, and of very many the first ones and how many more there are."""
    found = list(violations)
    if len(found) > _MAX_VIOLATIONS:
        more = f"and {len(found) - _MAX_VIOLATIONS} more like these"
        found = [*found[:_MAX_VIOLATIONS], Violation(field="spec", description=more)]
    return found


def given_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """The paths of the fields that are set, such as "hyperparameters.epochs"."""
    for descriptor, value in message.ListFields():
        path = f"{prefix}{descriptor.name}"
        if isinstance(value, Message):
            yield from given_fields(value, f"{path}.")
        else:
            yield path


def largest_device(
    resolved: training_pb2.TrainingSpec, devices: Sequence[system_pb2.Device]
) -> system_pb2.Device:
    """The device whose memory decides; the processor, of unknown memory, where none is named."""
    offered = [device for device in devices if device.id == "cpu" or not resolved.resources.force_cpu]
    return max(offered, key=lambda device: device.memory_total_bytes, default=system_pb2.Device(id="cpu"))


def memory_use(work: Weighed, *, on_cpu: bool) -> job_pb2.MemoryUse:
    """The predicted peaks."""
    return job_pb2.MemoryUse(
        device_bytes=0 if on_cpu else work.device_bytes(), host_bytes=work.host_bytes(on_cpu=on_cpu)
    )


def smaller_batch(batch: int, effective: int) -> tuple[str, dict[str, object]]:
    """In words, and as changes: a micro-batch that leaves the effective batch as it is."""
    changes: dict[str, object] = {
        "hyperparameters.batch_size": batch,
        "hyperparameters.gradient_accumulation_steps": effective // batch,
    }
    return f"batch {batch} x accumulation {effective // batch}", changes


def largest_divisor(most: int, of: int) -> int:
    """The largest micro-batch of at most `most` that divides an effective batch; 0 if `most` is."""
    return next((size for size in range(min(most, of), 0, -1) if of % size == 0), 0)


def alternatives(offers: Iterable[Offer[Work]], *, limit: int, on_cpu: bool) -> Iterator[job_pb2.Alternative]:
    """Those of the offers that fit within a limit, in their order."""
    for offer in offers:
        if offer.workload.need(on_cpu=on_cpu) <= limit:
            yield job_pb2.Alternative(
                description=offer.description,
                changes={path: json.dumps(value) for path, value in offer.changes.items()},
                memory=memory_use(offer.workload, on_cpu=on_cpu),
            )
