"""What the platform costs a training: the same recipe as a job, and bare in one process."""

from pathlib import Path
from statistics import median

from tests.benchmarks.deployment import (
    classifier_spec,
    jobs_of,
    suspended,
    upload_folder,
    vision_platform,
)
from tests.benchmarks.images import digits_folder
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import Settings, result_of
from tuneyard.v1 import training_pb2

IMAGE_SIZE, SIDE, BATCH_SIZE = 64, 73, 16


def measure(settings: Settings) -> list[Row]:
    """Images a second between evaluations, job and bare run in turn."""
    data = digits_folder(settings.data / "digits-73", side=SIDE, classes=10, train=640, validation=320)
    stretch = settings.times(60, 20)
    ours: list[float] = []
    bare: list[float] = []
    events = 0
    with vision_platform(settings, "overhead") as running, jobs_of(running) as jobs:
        spec = classifier_spec(upload_folder(running, data), image_size=IMAGE_SIZE, batch_size=BATCH_SIZE)
        spec.hyperparameters.max_steps = 3 * stretch
        spec.hyperparameters.eval_steps = stretch
        spec.hyperparameters.precision = training_pb2.PRECISION_FP32
        for number in range(settings.times(4, 1)):
            story = jobs.run(spec)
            events = len(story.events)
            ours += _speeds(story.training_seconds(), stretch)
            with suspended(running):
                bare += _speeds(_bare(settings, spec, data, settings.scratch / f"bare-{number}"), stretch)
            settings.tell(f"job {ours[-1]:.1f}, bare {bare[-1]:.1f} images/s")
    return [
        Row(
            name="training speed as a job vs bare recipe",
            unit="images/s",
            ours=median(ours),
            limit=median(bare),
            ratio=paired_ratio(ours, bare),
            target=Target("ratio", ">=", 0.98),
            guard=f"resnet18 at {IMAGE_SIZE} px, fp32, {stretch} steps a stretch; {events} events, watched",
        )
    ]


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
