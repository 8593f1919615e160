"""The classifier's recipe in one process, without the platform: what its loop does by itself.

    python -m tests.benchmarks.bare_recipe SPEC DATA FOLDER DEVICE

SPEC is a file with a serialized TrainingSpec, DATA an image folder. Prints a line for each step, with its
number and when it was done by `time.time`.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneyard.datasets import Report
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.v1 import trainer_service_pb2
from tuneyard.vision.entry import execute


@dataclass(kw_only=True)
class TimedRun(FakeRun):
    """Stores nothing away, and tells when each step is done."""

    def progress(self, *, step: int, **values: Any) -> None:
        if step:
            print(step, time.time(), flush=True)


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
    execute(request, run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
