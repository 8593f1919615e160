"""`python -m tests.support.llm_estimate_probe FOLDER`: fine-tunes a few steps as a worker would.

FOLDER holds a base model, a dataset of texts and the job's spec, as `prepare` writes them; memory and time
are printed as one JSON object. A process of its own, because a peak belongs to a process.
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

from google.protobuf import json_format

from tuneyard.datasets import Report
from tuneyard.llm import entry
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.trainer import memory
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.trainer.warm import import_modules
from tuneyard.v1 import dataset_pb2, trainer_service_pb2, training_pb2

STEPS = 2
_SAMPLE_SECONDS = 0.01
_MODEL, _DATA, _SPEC = "model", "data", "spec.json"


@dataclass(frozen=True)
class Probed:
    """What a few real steps took."""

    base_bytes: int
    """Before anything was loaded."""
    peak_bytes: int
    step_seconds: float
    """Of the last step; the first one warms up."""


def prepare(folder: Path, spec: training_pb2.TrainingSpec, model: dict[str, Any]) -> ModelFacts:
    """Writes a model of random weights, and texts that fill a step's rows, two in each; returns its facts."""
    from tests.support.tiny_llm import docstrings, tiny_model, tiny_tokenizer

    tiny_model(folder / _MODEL, **model)
    facts = ModelFacts.from_config(json.loads((folder / _MODEL / "config.json").read_text()))
    assert facts is not None
    tokenizer = tiny_tokenizer(vocab=model["vocab"])
    ids = tokenizer("\n".join(docstrings()), verbose=False)["input_ids"]
    length = _tokens(spec)
    data = folder / _DATA
    data.mkdir()
    for name, count in (("train", STEPS * effective(spec)), ("val", 2)):
        texts = [tokenizer.decode(ids[at : at + length]) for at in range(0, count * length, length)]
        lines = [json.dumps({"text": text}) for text in texts]
        (data / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / _SPEC).write_text(json_format.MessageToJson(spec))
    return facts


def effective(spec: training_pb2.TrainingSpec) -> int:
    """Samples of a step."""
    return spec.hyperparameters.batch_size * spec.hyperparameters.gradient_accumulation_steps


def _tokens(spec: training_pb2.TrainingSpec) -> int:
    return spec.language_model.max_length // 2 - 8


def request_of(
    spec: training_pb2.TrainingSpec, facts: ModelFacts
) -> trainer_service_pb2.TrainerServiceEstimateRequest:
    """What the trainer is asked about the same training."""
    report = dataset_pb2.ValidationReport()
    report.splits.add(split="train", samples=STEPS * effective(spec))
    report.splits.add(split="val", samples=2)
    size = 4 * _tokens(spec) * (STEPS * effective(spec) + 2)
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        dataset=trainer_service_pb2.DatasetSource(report=report, size_bytes=size),
        model=trainer_service_pb2.ModelSource(facts=facts.to_json()),
    )
    request.spec.training.CopyFrom(spec)
    return request


def probe(folder: Path) -> Probed:
    """Trains what was prepared, in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.llm_estimate_probe", str(folder)],
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
    import_modules(("tuneyard.trainer.worker", "tuneyard.llm.entry"))
    request = trainer_service_pb2.StartRunRequest()
    request.spec.training.CopyFrom(spec)
    request.spec.training.hyperparameters.max_steps = STEPS
    files = DatasetFiles(folder / _DATA, hashlib.sha256(b"written").hexdigest(), Report("jsonl"))
    threads = spec.resources.cpu_threads or 1
    with tempfile.TemporaryDirectory(prefix="tuneyard-probe-") as scratch:
        run = _TimedRun(
            root=Path(scratch),
            training_files=files,
            base_model_files=folder / _MODEL,
            cpu_threads=threads,
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
