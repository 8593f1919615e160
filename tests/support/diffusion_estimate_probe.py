"""`python -m tests.support.diffusion_estimate_probe FOLDER`: trains a few steps of a LoRA as a worker would.

FOLDER holds a pipeline of random weights, captioned pictures and the job's spec, as `prepare` writes them;
memory and time are printed as one JSON object. A process of its own, because a peak belongs to a process.
"""

import importlib
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

from google.protobuf import json_format

from tuneyard.datasets import check
from tuneyard.diffusion import entry
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.trainer import memory
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.trainer.warm import import_modules
from tuneyard.v1 import dataset_pb2, trainer_service_pb2, training_pb2

STEPS = 2
_MODEL, _DATA, _SPEC = "model", "data", "spec.json"
_SAMPLE_SECONDS = 0.01


@dataclass(frozen=True)
class Probed:
    """What a few real steps took."""

    base_bytes: int
    """Before anything was loaded."""
    peak_bytes: int
    step_seconds: float
    """Of the last step; the first one warms up."""


def prepare(folder: Path, spec: training_pb2.TrainingSpec, *, family: Any, width: int) -> PipelineFacts:
    """Writes a pipeline of random weights, and pictures of the trained size; returns its facts."""
    from PIL import Image

    from tests.support.tiny_diffusion import tiny_pipeline
    from tuneyard.diffusion.meta_facts import facts_of

    tiny_pipeline(folder / _MODEL, family, width=width)
    side = spec.text_to_image_lora.resolution
    for split, count in (("train", 4), ("val", 1)):
        (folder / _DATA / split).mkdir(parents=True)
        for number in range(count):
            path = folder / _DATA / split / f"{number}.png"
            Image.effect_noise((side, side), 40 + 9 * number + len(split)).convert("RGB").save(path)
            path.with_suffix(".txt").write_text(f"a picture of {number}")
    (folder / _SPEC).write_text(json_format.MessageToJson(spec))
    return facts_of(folder / _MODEL)


def request_of(
    spec: training_pb2.TrainingSpec, facts: PipelineFacts
) -> trainer_service_pb2.TrainerServiceEstimateRequest:
    """What the trainer is asked about the same training."""
    report = dataset_pb2.ValidationReport()
    report.splits.add(split="train", samples=4)
    report.splits.add(split="val", samples=1)
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        dataset=trainer_service_pb2.DatasetSource(report=report),
        model=trainer_service_pb2.ModelSource(facts=facts.to_json()),
    )
    request.spec.training.CopyFrom(spec)
    return request


def probe(folder: Path) -> Probed:
    """Trains what was prepared, in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.diffusion_estimate_probe", str(folder)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    return Probed(**json.loads(child.stdout.splitlines()[-1]))


class _TimedRun(FakeRun):
    """Notes when each step was reported."""

    def progress(self, *, step: int, **rest: Any) -> None:
        moments = self.__dict__.setdefault("moments", {})
        moments.setdefault(step, time.monotonic())
        super().progress(step=step, **rest)


def main(folder: Path) -> None:
    """Trains what was prepared, and prints one JSON object."""
    spec = json_format.Parse((folder / _SPEC).read_text(), training_pb2.TrainingSpec())
    # What a worker inherits from the warm server.
    import_modules(("tuneyard.trainer.worker", *entry.PRELOAD))
    # Pictures of random weights need no more, and their memory does not grow with the steps.
    importlib.import_module("tuneyard.diffusion.sampling").STEPS_ON_CPU = 1  # type: ignore[attr-defined]
    request = trainer_service_pb2.StartRunRequest()
    request.spec.training.CopyFrom(spec)
    data = folder / _DATA
    files = DatasetFiles(data, "a" * 64, check(data, format="captioned-images"))
    with tempfile.TemporaryDirectory(prefix="tuneyard-probe-") as scratch:
        run = _TimedRun(
            root=Path(scratch),
            training_files=files,
            base_model_files=folder / _MODEL,
            cpu_threads=spec.resources.cpu_threads or 1,
        )
        with _sampled() as peak:
            entry.execute(request, run)
    moments = sorted(run.__dict__.get("moments", {}).items())
    times = [after - before for (_, before), (_, after) in itertools.pairwise(moments)]
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
