"""`python -m tests.support.estimate_probe`: trains a few steps as a worker would, and tells memory and time.

Reads the proto3 JSON of a TrainingSpec from standard input, draws a dataset for it, runs the real recipe, and
prints one JSON object. A process of its own, because a peak belongs to a process.
"""

import hashlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from PIL import Image

from tuneyard.datasets import Report
from tuneyard.trainer import memory
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.trainer.warm import import_modules
from tuneyard.v1 import dataset_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision import entry, timing
from tuneyard.vision.estimate import estimate
from tuneyard.vision.plan import Plan

STEPS = 4
_EVALUATED_EVERY = 2
"""As in trainings of many epochs, the best weights so far are there while more is trained."""
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Probed:
    """What a few real steps took."""

    base_bytes: int
    """Before anything was trained."""
    peak_bytes: int
    step_seconds: float
    """The median of the steps after the first."""


def probe(spec: training_pb2.TrainingSpec) -> Probed:
    """Trains in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.estimate_probe"],
        input=json_format.MessageToJson(spec),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    return Probed(**json.loads(child.stdout.splitlines()[-1]))


def dataset_of(spec: training_pb2.TrainingSpec) -> trainer_service_pb2.DatasetSource:
    """The facts of the dataset that is drawn for a spec."""
    samples = STEPS * spec.hyperparameters.batch_size
    report = dataset_pb2.ValidationReport(classes=["a", "b"], median_width=320, median_height=320)
    for split, count in (("train", samples), ("val", spec.hyperparameters.batch_size)):
        report.splits.add(split=split, samples=count, samples_per_class={"a": count // 2, "b": count // 2})
    is_detector = spec.WhichOneof("task") == "object_detector"
    return trainer_service_pb2.DatasetSource(
        format=dataset_pb2.DATASET_FORMAT_YOLO if is_detector else dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
        report=report,
    )


def predicted(spec: training_pb2.TrainingSpec) -> int:
    """The estimate of the same training's host memory."""
    request = trainer_service_pb2.TrainerServiceEstimateRequest(dataset=dataset_of(spec))
    request.spec.training.CopyFrom(spec)
    answer = estimate(request, [system_pb2.Device(id="cpu")]).estimate
    assert not answer.violations, answer.violations
    return answer.memory.host_bytes


def plan_of(spec: training_pb2.TrainingSpec) -> Plan:
    """The plan of the same training, for its predicted time."""
    from tuneyard.vision.estimate import plan_for

    request = trainer_service_pb2.TrainerServiceEstimateRequest(dataset=dataset_of(spec))
    request.spec.training.CopyFrom(spec)
    return plan_for(request, [system_pb2.Device(id="cpu")])


def predicted_step_seconds(spec: training_pb2.TrainingSpec) -> float:
    """The formula's time of one optimizer step on the reference processor."""
    from tuneyard.vision.estimate import at_precision

    plan = plan_of(spec)
    work = at_precision(plan, on_cpu=True)
    return plan.effective_batch_size * timing.sample_seconds(plan, work)


class _TimedRun(FakeRun):
    """Notes when each step was reported."""

    def progress(self, *, step: int, **rest: Any) -> None:
        moments = self.__dict__.setdefault("moments", {})
        moments.setdefault(step, time.monotonic())
        super().progress(step=step, **rest)


def main() -> None:
    spec = json_format.Parse(sys.stdin.read(), training_pb2.TrainingSpec())
    # What a worker inherits from the warm server.
    import_modules(("tuneyard.trainer.worker", "tuneyard.vision.entry"))
    with tempfile.TemporaryDirectory(prefix="tuneyard-probe-") as scratch:
        files = _draw(Path(scratch) / "data", spec)
        request = trainer_service_pb2.StartRunRequest()
        request.spec.training.CopyFrom(spec)
        request.spec.training.hyperparameters.max_steps = STEPS
        request.spec.training.hyperparameters.eval_steps = _EVALUATED_EVERY
        threads = spec.resources.cpu_threads or 1
        run = _TimedRun(root=Path(scratch) / "run", training_files=files, cpu_threads=threads)
        with _sampled() as peak:
            entry.execute(request, run)
    moments = sorted(run.__dict__.get("moments", {}).items())
    times = [after - before for (_, before), (_, after) in itertools.pairwise(moments[1:])]
    told = Probed(peak["base"], peak["peak"], statistics.median(times) if times else 0.0)
    sys.stdout.write(json.dumps(asdict(told)) + "\n")


@contextmanager
def _sampled() -> Iterator[dict[str, int]]:
    found = {"base": memory.measure().host_bytes, "peak": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            found["peak"] = max(found["peak"], memory.measure().host_bytes)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _draw(root: Path, spec: training_pb2.TrainingSpec) -> DatasetFiles:
    generator = np.random.default_rng(0)
    is_detector = spec.WhichOneof("task") == "object_detector"
    for facts in dataset_of(spec).report.splits:
        for number in range(facts.samples):
            image = Image.fromarray(generator.integers(0, 255, (320, 320, 3), dtype=np.uint8))
            if is_detector:
                picture = root / "images" / facts.split / f"{number}.jpg"
                label = root / "labels" / facts.split / f"{number}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(f"{number % 2} 0.5 0.5 0.3 0.4\n{(number + 1) % 2} 0.2 0.3 0.1 0.15\n")
            else:
                picture = root / facts.split / "ab"[number % 2] / f"{number}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            image.save(picture)
    if is_detector:
        (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b]\n")
    return DatasetFiles(
        root, hashlib.sha256(b"drawn").hexdigest(), Report("yolo" if is_detector else "image-folder")
    )


if __name__ == "__main__":
    main()
