"""What the platform costs a training: the same recipe as a job, and bare in one process."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

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
from tests.benchmarks.settings import Settings, result_of
from tests.support.platform import Platform
from tuneyard.v1 import training_pb2

IMAGE_SIZE, SIDE, BATCH_SIZE = 64, 73, 16


@dataclass(frozen=True)
class Case:
    """How many of the cores train."""

    threads: int
    steps: int
    """A stretch between two evaluations, whose own reports would weigh on a short one."""
    repetitions: int
    target: Target | None


@dataclass
class Figures:
    """Images a second of each stretch."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    events: int = 0


def measure(settings: Settings) -> list[Row]:
    """Images a second between evaluations, job and bare run in turn.

    What the platform may cost is said of idle cores, such as those beside an accelerator that trains: here,
    one core trains and the others are idle. Where every core trains, whatever else computes takes from it.
    """
    data = digits_folder(settings.data / "digits-73", side=SIDE, classes=10, train=640, validation=320)
    cores = psutil.cpu_count() or 1
    cases = [
        Case(1, settings.times(60, 8), 1, Target("ratio", ">=", 0.98)),
        Case(cores, settings.times(100, 8), 1, None),
    ]
    rows: list[Row] = []
    with vision_platform(settings, "overhead") as running, jobs_of(running) as jobs:
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
                    guard=f"resnet18 at {IMAGE_SIZE} px, fp32, {case.steps} steps a stretch;"
                    f" {found.events} events, watched",
                )
            )
    return rows


def _figures(
    settings: Settings, case: Case, running: Platform, jobs: Jobs, dataset: str, data: Path
) -> Figures:
    spec = classifier_spec(dataset, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE)
    spec.hyperparameters.max_steps = 3 * case.steps
    spec.hyperparameters.eval_steps = case.steps
    spec.hyperparameters.precision = training_pb2.PRECISION_FP32
    spec.resources.cpu_threads = case.threads
    found = Figures()
    for number in range(case.repetitions):
        story = jobs.run(spec)
        found.events = len(story.events)
        found.ours += _speeds(story.training_seconds(), case.steps)
        with suspended(running):
            root = settings.scratch / f"bare-{case.threads}-{number}"
            found.bare += _speeds(_bare(settings, spec, data, root), case.steps)
        settings.tell(f"job {found.ours[-1]:.1f}, bare {found.bare[-1]:.1f} images/s")
    return found


def _speeds(stretches: list[float], steps: int) -> list[float]:
    return [steps * BATCH_SIZE / seconds for seconds in stretches]


def _bare(settings: Settings, spec: training_pb2.TrainingSpec, data: Path, root: Path) -> list[float]:
    root.mkdir()
    file = root / "spec.pb"
    file.write_bytes(spec.SerializeToString())
    device = "cuda:0" if settings.device == "cuda" else "cpu"
    found = result_of(["-m", "tests.benchmarks.bare_recipe", file, data, root, device])
    stretches: list[float] = found["stretches"]
    return stretches
