"""What a training was predicted to take, to be compared with what it took. Imports no torch."""

from tuneyard.llm import timing
from tuneyard.llm.plan import plan_for
from tuneyard.v1 import system_pb2, trainer_service_pb2


def predicted(
    asked: trainer_service_pb2.TrainerServiceEstimateRequest, device: system_pb2.Device, steps: int
) -> tuple[str, float]:
    """The key of such trainings' speeds and the formula's seconds; raises `Refused` without a plan."""
    plan = plan_for(asked, [device])
    return timing.speed_key(plan), timing.reference_seconds(plan, steps=steps)
