"""What a training was predicted to take, to be compared with what it took. Imports no torch."""

from tuneyard.v1 import system_pb2, trainer_service_pb2
from tuneyard.vision import timing
from tuneyard.vision.estimate import at_precision, plan_for


def predicted(
    asked: trainer_service_pb2.TrainerServiceEstimateRequest, device: system_pb2.Device, steps: int
) -> tuple[str, float]:
    """The key of such trainings' speeds and the formula's seconds; raises `Refused` without a plan."""
    plan = plan_for(asked, [device])
    work = at_precision(plan, on_cpu=device.id == "cpu")
    return timing.speed_key(device.id, plan.resolved), timing.reference_seconds(plan, work, steps=steps)
