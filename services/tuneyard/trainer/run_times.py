"""Compares how long a training took with what its family predicted, for predictions to come. No torch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tuneyard.trainer import speeds
from tuneyard.trainer.estimates import Refused
from tuneyard.trainer.run import Result, Run
from tuneyard.v1 import system_pb2, trainer_service_pb2

Predict = Callable[
    [trainer_service_pb2.TrainerServiceEstimateRequest, system_pb2.Device, int], tuple[str, float]
]
"""A family's answer for a request, a device and a number of steps: the key under which the ratio is
remembered, and the seconds that its formula gives. Raises `Refused` where it can't tell."""


class Timed:
    """A run whose result is set once it has one."""

    result: Result | None = None


@contextmanager
def measured(request: trainer_service_pb2.StartRunRequest, run: Run, *, predict: Predict) -> Iterator[Timed]:
    """Remembers the time of a training that ends with a result."""
    timed, began = Timed(), time.monotonic()
    yield timed
    if timed.result is None:
        return
    asked = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=request.spec, dataset=request.dataset, model=request.model
    )
    steps = timed.result.step - request.checkpoint.step
    try:
        key, predicted_seconds = predict(asked, system_pb2.Device(id=run.device), steps)
    except Refused:
        return
    speeds.remember(
        run.cache_dir / speeds.SPEEDS_FILE,
        key,
        measured_seconds=time.monotonic() - began,
        predicted_seconds=predicted_seconds,
    )
