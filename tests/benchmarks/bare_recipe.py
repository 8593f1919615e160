"""The classifier's recipe in one process, without the platform: what its loop does by itself.

    python -m tests.benchmarks.bare_recipe SPEC DATA FOLDER DEVICE

SPEC is a file with a serialized TrainingSpec, DATA an image folder. Prints one JSON object with the seconds
of each stretch of training between two evaluations, taken at the same places as in a job's events.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tuneyard.datasets import Report
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.v1 import trainer_service_pb2
from tuneyard.vision.entry import execute


@dataclass(kw_only=True)
class TimedRun(FakeRun):
    """Stores nothing away, and notes when training began and ended between evaluations."""

    stretches: list[float] = field(default_factory=list, init=False)
    resumed_at: float | None = field(default=None, init=False)

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        if name == "evaluate" and self.resumed_at is not None:
            self.stretches.append(time.perf_counter() - self.resumed_at)
            self.resumed_at = None
        with super().stage(name, detail):
            yield

    def sample_image(self, path: Path, *, title: str, step: int, name: str) -> None:
        super().sample_image(path, title=title, step=step, name=name)
        if "redict" in title:
            self.resumed_at = time.perf_counter()


def main(spec: Path, data: Path, root: Path, device: str) -> None:
    import torch

    request = trainer_service_pb2.StartRunRequest()
    request.spec.training.ParseFromString(spec.read_bytes())
    run = TimedRun(
        root=root,
        training_files=DatasetFiles(data, "0" * 64, Report("image-folder", splits={"train": None})),  # type: ignore[dict-item]
        device=device,
        cpu_threads=request.spec.training.resources.cpu_threads or torch.get_num_threads(),
    )
    result = execute(request, run)
    precision = next((r["message"] for r in run.all_of("log")), "")
    print(json.dumps({"stretches": run.stretches, "metrics": dict(result.metrics), "log": precision}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
