"""A trainer whose recipe does what the job's `base_model` says: "records=5,hang,ignore_stop".

For tests of the trainer's server: the worker is the real one. `python -m tests.support.scripted_trainer`.
SCRIPTED_PRELOAD names modules for the warm server to import, SCRIPTED_ENTRY another entry.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tuneyard.trainer.run import Result, Run, Stop, Stopped
from tuneyard.v1.system_pb2 import Device
from tuneyard.v1.trainer_service_pb2 import (
    StartRunRequest,
    TrainerServiceEstimateRequest,
    TrainerServiceEstimateResponse,
)
from tuneyard.v1.training_pb2 import Family, TaskKind

PRELOAD = tuple(name for name in os.environ.get("SCRIPTED_PRELOAD", "").split(",") if name)


def execute(request: StartRunRequest, run: Run) -> Result:
    """records=N   log lines at once
    ticks=N     log lines 20 ms apart
    hang        wait for a stop request, for a minute at most
    ignore_stop wait without looking at the request
    orphan      leave a process behind that outlives the worker
    print=TEXT  write to standard error
    exit=N      leave without an end
    """
    parts = (part.partition("=") for part in request.spec.training.base_model.split(",") if part)
    script = {name: value for name, _, value in parts}
    for number in range(int(script.get("records", "0"))):
        run.log(f"line {number}")
    for number in range(int(script.get("ticks", "0"))):
        time.sleep(0.02)
        run.log(f"tick {number}")
    if "orphan" in script:
        child = subprocess.Popen(["sleep", "60"])
        run.log(f"orphan {child.pid}")
    if "print" in script:
        sys.stderr.write(script["print"] + "\n")
    if "exit" in script:
        os._exit(int(script["exit"]))
    deadline = time.monotonic() + 60
    while script.keys() & {"hang", "ignore_stop"} and time.monotonic() < deadline:
        stop = run.stop_requested()
        if stop is not None and "ignore_stop" not in script:
            raise Stopped(stop, 1 if stop is Stop.PAUSE else 0)
        time.sleep(0.002)
    return Result(metrics={}, step=1)


def estimate(
    request: TrainerServiceEstimateRequest, devices: Sequence[Device]
) -> TrainerServiceEstimateResponse:
    """The spec as it is, for the number of devices that there are."""
    response = TrainerServiceEstimateResponse()
    response.estimate.resolved_spec.CopyFrom(request.spec)
    response.estimate.total_steps = len(devices)
    return response


def main() -> None:
    from tuneyard.trainer.app import serve
    from tuneyard.trainer.config import load_config
    from tuneyard.trainer.family import TrainerFamily

    family = TrainerFamily(
        family=Family.FAMILY_VISION,
        entry=os.environ.get("SCRIPTED_ENTRY", "tests.support.scripted_trainer"),
        tasks=(TaskKind.TASK_KIND_IMAGE_CLASSIFIER,),
        estimate=estimate,
        base_models=lambda: [],
    )
    serve(family, load_config("vision"))


if __name__ == "__main__":
    main()
