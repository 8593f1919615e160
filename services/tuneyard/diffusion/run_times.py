"""Compares how long a run took with what was predicted, for the predictions to come. Imports no torch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuneyard.diffusion import timing
from tuneyard.diffusion.plan import plan_for
from tuneyard.trainer import speeds
from tuneyard.trainer.estimates import Refused
from tuneyard.trainer.run import Result, Run
from tuneyard.v1 import system_pb2, trainer_service_pb2


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
    asked = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=request.spec, dataset=request.dataset, model=request.model
    )
    try:
        plan = plan_for(asked, [system_pb2.Device(id=run.device)])
    except Refused:
        return
    steps = timed.result.step - request.checkpoint.step
    speeds.remember(
        run.cache_dir / speeds.SPEEDS_FILE,
        timing.speed_key(plan),
        measured_seconds=time.monotonic() - began,
        predicted_seconds=timing.reference_seconds(plan, steps=steps),
    )
