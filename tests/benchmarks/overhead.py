"""What the platform costs a training: the same recipe as a job, and bare in one process."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

import psutil

from tests.benchmarks.deployment import (
    Jobs,
    classifier_spec,
    jobs_of,
    suspended,
    upload_folder,
    vision_platform,
)
from tests.benchmarks.images import digits_folder
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import Settings, start
from tests.support.platform import Platform
from tuneyard.v1 import event_pb2, training_pb2

IMAGE_SIZE, SIDE, BATCH_SIZE = 64, 73, 16
_FIRST_STEPS = 3
_SETTLING_SECONDS = 0.7
"""After a standstill: the step that it interrupted, and what piled up meanwhile."""
_START_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """How many of the cores train."""

    threads: int
    rounds: int
    seconds: float
    """Of each turn; in a round both have one."""
    target: Target | None


@dataclass
class Steps:
    """When steps were done, as a reading thread hears of it: pairs of time and number."""

    done: list[tuple[float, float]] = field(default_factory=list)
    over: bool = False
    events: int = 0

    def wait_begun(self) -> None:
        """Waits until the first steps are done that compile kernels."""
        deadline = time.monotonic() + _START_WITHIN_SECONDS
        while not self.done or self.done[-1][1] < _FIRST_STEPS:
            if self.over or time.monotonic() > deadline:
                raise RuntimeError("no step was made")
            time.sleep(0.02)

    def images_per_second(self, begun: float, ended: float) -> float:
        """The slope over a turn: single times are those of writing, some after the step itself."""
        turn = [point for point in self.done if begun + _SETTLING_SECONDS < point[0] < ended]
        at, step = zip(*turn, strict=True)
        return linear_regression(at, step).slope * BATCH_SIZE


@dataclass
class Figures:
    """Images a second of each turn."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    events: int = 0


def measure(settings: Settings) -> list[Row]:
    """Job and bare run by turns of some seconds, one standing still while the other trains.

    What the platform may cost is said of idle cores, such as those beside an accelerator that trains: here,
    one core trains and the others are idle. Where every core trains, whatever else computes takes from it.
    """
    data = digits_folder(settings.data / "digits-73", side=SIDE, classes=10, train=640, validation=320)
    cores = psutil.cpu_count() or 1
    cases = [
        Case(1, settings.times(5, 1), 5.0, Target("ratio", ">=", 0.98)),
        Case(cores, 1, 5.0, None),
    ]
    rows: list[Row] = []
    with vision_platform(settings) as running, jobs_of(running) as jobs:
        dataset = upload_folder(running, data)
        for case in cases:
            found = _figures(settings, case, running, jobs, dataset, data)
            rows.append(
                Row(
                    name=f"training speed as a job vs bare recipe, {case.threads} of {cores} cores training",
                    unit="images/s",
                    ours=median(found.ours),
                    limit=median(found.bare),
                    ratio=paired_ratio(found.ours, found.bare),
                    target=case.target,
                    guard=f"resnet18, {IMAGE_SIZE} px, fp32; {case.rounds} turns of {case.seconds:g} s each;"
                    f" {found.events} events, watched",
                )
            )
    return rows


def _figures(
    settings: Settings, case: Case, running: Platform, jobs: Jobs, dataset: str, data: Path
) -> Figures:
    spec = classifier_spec(dataset, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE)
    spec.hyperparameters.max_steps = spec.hyperparameters.eval_steps = 1_000_000
    spec.hyperparameters.precision = training_pb2.PRECISION_FP32
    spec.resources.cpu_threads = case.threads
    found = Figures()
    with _job(jobs, spec) as ours, ExitStack() as stack:
        ours.wait_begun()
        with suspended(running):
            root = settings.scratch / f"bare-{case.threads}"
            bare, process = stack.enter_context(_bare(settings, spec, data, root))
            bare.wait_begun()
            process.suspend()
        for _ in range(case.rounds):
            found.ours.append(_turn(ours, case))
            with suspended(running):
                process.resume()
                found.bare.append(_turn(bare, case))
                process.suspend()
            settings.tell(f"job {found.ours[-1]:.1f}, bare {found.bare[-1]:.1f} images/s")
        found.events = ours.events
    return found


def _turn(steps: Steps, case: Case) -> float:
    begun = time.time()
    time.sleep(case.seconds)
    return steps.images_per_second(begun, time.time())


@contextmanager
def _job(jobs: Jobs, spec: training_pb2.TrainingSpec) -> Iterator[Steps]:
    """The job's steps as a subscriber hears of them; cancelled at the end."""
    steps = Steps()

    def note(event: event_pb2.JobEvent) -> bool:
        steps.events += 1
        if event.HasField("progress") and event.progress.step:
            steps.done.append((event.time.ToNanoseconds() / 1e9, event.progress.step))
        return False

    def follow() -> None:
        jobs.follow(name, until=note)
        steps.over = True

    name = jobs.train(spec).name
    reader = threading.Thread(target=follow)
    reader.start()
    try:
        yield steps
    finally:
        jobs.cancel(name)
        reader.join()


@contextmanager
def _bare(
    settings: Settings, spec: training_pb2.TrainingSpec, data: Path, root: Path
) -> Iterator[tuple[Steps, psutil.Process]]:
    """The recipe in a process of its own, which is killed at the end."""
    root.mkdir()
    file = root / "spec.pb"
    file.write_bytes(spec.SerializeToString())
    device = "cuda:0" if settings.device == "cuda" else "cpu"
    process = start(["-m", "tests.benchmarks.bare_recipe", file, data, root, device])
    steps = Steps()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            step, at = line.split()
            steps.done.append((float(at), float(step)))
        steps.over = True

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield steps, psutil.Process(process.pid)
    finally:
        process.kill()
        reader.join()
        process.communicate()
