"""Compares how long a run took with what was predicted, for the predictions to come. Imports no torch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuneyard.trainer import speeds
from tuneyard.trainer.estimates import Refused
from tuneyard.trainer.run import Result, Run
from tuneyard.v1 import system_pb2, trainer_service_pb2
from tuneyard.vision import timing
from tuneyard.vision.estimate import at_precision, plan_for


class Timed:
    """A run whose result is set once it has one."""

    result: Result | None = None


@contextmanager
def measured(request: trainer_service_pb2.StartRunRequest, run: Run) -> Iterator[Timed]:
    """Remembers the time of a training that ends with a result."""
    timed, began = Timed(), time.monotonic()
    yield timed
    if timed.result is None:
        return
    device = system_pb2.Device(id=run.device)
    asked = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=request.spec, dataset=request.dataset, model=request.model
    )
    try:
        plan = plan_for(asked, [device])
    except Refused:
        return
    steps = timed.result.step - request.checkpoint.step
    work = at_precision(plan, on_cpu=run.device == "cpu")
    speeds.remember(
        run.cache_dir / speeds.SPEEDS_FILE,
        timing.speed_key(run.device, plan.resolved),
        measured_seconds=time.monotonic() - began,
        predicted_seconds=timing.reference_seconds(plan, work, steps=steps),
    )
