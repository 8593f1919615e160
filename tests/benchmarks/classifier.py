"""The classifier's speed from the second epoch on, against a plain torchvision loop and bare steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import psutil

from tests.benchmarks.deployment import Jobs, Story, classifier_spec, jobs_of, upload_folder, vision_platform
from tests.benchmarks.images import digits_folder
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import PEERS, Resident, Settings, result_of
from tuneyard.v1 import training_pb2

THREADS = psutil.cpu_count() or 1
MOST_APART = 0.05
"""How far the mean accuracies of ours and the peer's may lie apart."""


@dataclass(frozen=True)
class Case:
    """One size of images."""

    image_size: int
    side: int
    """Of the files: what ours keeps in its cache, so that the peer decodes no more than ours once did."""
    classes: int
    train: int
    validation: int
    epochs: int
    batch_size: int
    wanted: float
    """The ratio to the peer that ours must reach with its own choice of precision."""
    bare_steps: int
    fp32_seeds: int = 1
    """How many of the seeds are trained in fp32, too: a step of it takes up to twice as long."""
    ultralytics_seeds: int = 0
    """How many of them are measured against `yolo classify train`, too."""


CASES = (
    Case(
        image_size=64,
        side=73,
        classes=5,
        train=320,
        validation=160,
        epochs=3,
        batch_size=16,
        wanted=1.3,
        bare_steps=30,
        ultralytics_seeds=1,
    ),
    Case(
        image_size=224,
        side=256,
        classes=2,
        train=96,
        validation=48,
        epochs=4,
        # Fewer steps leave batch normalisation's running statistics near their start, accuracies at chance.
        batch_size=8,
        wanted=1.5,
        bare_steps=9,
    ),
)


@dataclass
class Figures:
    """Images a second and accuracies, one for each seed."""

    ours: list[float] = field(default_factory=list)
    ours_fp32: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    accuracies_fp32: list[float] = field(default_factory=list)
    peer_accuracies: list[float] = field(default_factory=list)
    precision: str = ""
    ultralytics: list[float] = field(default_factory=list)
    ultralytics_threaded: list[float] = field(default_factory=list)
    ultralytics_accuracies: list[float] = field(default_factory=list)


def measure(settings: Settings) -> list[Row]:
    """Three seeds of each case; job, plain loop and bare steps in turn."""
    rows: list[Row] = []
    with vision_platform(settings) as running, jobs_of(running) as jobs:
        for case in CASES:
            data = digits_folder(
                settings.data / f"digits-{case.side}-{case.classes}",
                side=case.side,
                classes=case.classes,
                train=case.train,
                validation=case.validation,
            )
            rows += _rows(case, _figures(settings, case, jobs, upload_folder(running, data), data))
    return rows


def _figures(settings: Settings, case: Case, jobs: Jobs, dataset: str, data: Path) -> Figures:
    found = Figures()
    with (
        Resident([PEERS / "torchvision_loop.py", data, *_peer_options(settings, case)]) as plain,
        Resident([PEERS / "bare_step.py", *_bare_options(settings, case)]) as bare,
    ):
        for seed in range(settings.times(3, 1)):
            spec = classifier_spec(dataset, image_size=case.image_size, batch_size=case.batch_size)
            spec.hyperparameters.epochs = case.epochs
            spec.seed = seed
            _note_ours(found, case, jobs, spec)
            peer = plain.ask(seed)
            found.peer.append(median(case.train / seconds for seconds in peer["epoch_seconds"][1:]))
            found.peer_accuracies.append(max(peer["accuracies"]))
            if seed < case.fp32_seeds:
                _note_fp32(found, case, jobs, spec)
            found.bare.append(bare.ask(found.precision))
            settings.tell(
                f"{case.image_size} px, seed {seed}: {found.precision} {found.ours[-1]:.1f}, fp32"
                f" {found.ours_fp32[-1]:.1f}, peer {found.peer[-1]:.1f}, bare {found.bare[-1]:.1f} images/s"
            )
    for seed in range(settings.times(case.ultralytics_seeds, min(1, case.ultralytics_seeds))):
        _note_ultralytics(found, settings, case, data, seed=seed)
    return found


def _note_ours(found: Figures, case: Case, jobs: Jobs, spec: training_pb2.TrainingSpec) -> None:
    """A job in the precision that the recipe chooses."""
    story = jobs.run(spec)
    found.precision = story.precision
    found.ours.append(_speed(case, story))
    found.accuracies.append(story.result.metrics["eval/accuracy_top1"])


def _note_fp32(found: Figures, case: Case, jobs: Jobs, spec: training_pb2.TrainingSpec) -> None:
    spec.hyperparameters.precision = training_pb2.PRECISION_FP32
    story = jobs.run(spec)
    found.ours_fp32.append(_speed(case, story))
    found.accuracies_fp32.append(story.result.metrics["eval/accuracy_top1"])


def _note_ultralytics(found: Figures, settings: Settings, case: Case, data: Path, *, seed: int) -> None:
    """`yolo classify train` on the same network: with the threads that it takes by itself, and with ours."""
    for speeds, threads in ((found.ultralytics, 0), (found.ultralytics_threaded, THREADS)):
        options = [*_peer_options(settings, case), "--seed", seed, "--threads", threads]
        peer = result_of([PEERS / "ultralytics_classify.py", data, *options])
        speeds.append(median(case.train / seconds for seconds in peer["epoch_seconds"][1:]))
        found.ultralytics_accuracies.append(peer["accuracy"])


def _speed(case: Case, story: Story) -> float:
    return median(case.train / seconds for seconds in story.training_seconds())


def _peer_options(settings: Settings, case: Case) -> list[object]:
    named = {
        "--image-size": case.image_size,
        "--batch-size": case.batch_size,
        "--epochs": case.epochs,
        "--learning-rate": 1e-3,
        "--device": settings.device,
    }
    return [part for pair in named.items() for part in pair]


def _bare_options(settings: Settings, case: Case) -> list[object]:
    named = {
        "--image-size": case.image_size,
        "--batch-size": case.batch_size,
        "--classes": case.classes,
        "--steps": case.bare_steps,
        "--device": settings.device,
    }
    return [part for pair in named.items() for part in pair]


def _rows(case: Case, found: Figures) -> list[Row]:
    at = f"resnet18 at {case.image_size} px"
    guard, held = _accuracy_guard(found.accuracies, found.peer_accuracies)
    fp32_guard, fp32_held = _accuracy_guard(
        found.accuracies_fp32, found.peer_accuracies[: len(found.accuracies_fp32)]
    )
    return [
        Row(
            name=f"{at}, {found.precision} chosen by itself, vs torchvision loop",
            unit="images/s",
            ours=median(found.ours),
            peer=median(found.peer),
            ratio=paired_ratio(found.ours, found.peer),
            target=Target("ratio", ">=", case.wanted),
            guard=guard,
            guard_held=held,
        ),
        Row(
            name=f"{at}, fp32 vs torchvision loop in fp32",
            unit="images/s",
            ours=median(found.ours_fp32),
            peer=median(found.peer),
            ratio=paired_ratio(found.ours_fp32, found.peer[: len(found.ours_fp32)]),
            target=Target("ratio", ">=", 1.05),
            guard=fp32_guard,
            guard_held=fp32_held,
        ),
        Row(
            name=f"{at}, {found.precision}, vs bare steps on ready batches",
            unit="images/s",
            ours=median(found.ours),
            limit=median(found.bare),
            ratio=paired_ratio(found.ours, found.bare),
            target=Target("ratio", ">=", 0.95),
            guard="same dtype, channels last, optimizer and clipping",
        ),
        *_ultralytics_rows(f"{at}, {found.precision}", found),
    ]


def _ultralytics_rows(name: str, found: Figures) -> list[Row]:
    measured = {"": found.ultralytics, f" with {THREADS} threads": found.ultralytics_threaded}
    band = f"accuracy {_band(found.accuracies)}"
    return [
        Row(
            name=f"{name}, vs yolo classify train{how}",
            unit="images/s",
            ours=median(found.ours),
            peer=median(speeds),
            ratio=paired_ratio(found.ours[: len(speeds)], speeds),
            target=Target("ratio", ">=", 1.3),
            guard=f"same network, data, batch and rates; {band}, peer {_band(found.ultralytics_accuracies)}",
        )
        for how, speeds in measured.items()
        if speeds
    ]


def _accuracy_guard(ours: Sequence[float], peer: Sequence[float]) -> tuple[str, bool]:
    apart = abs(mean(ours) - mean(peer))
    held = apart <= MOST_APART
    text = (
        f"accuracy {_band(ours)}, peer {_band(peer)}, {len(ours)} seeds"
        if len(ours) > 1
        else (f"accuracy {ours[0]:.3f}, peer {peer[0]:.3f}, one seed")
    )
    return (text if held else f"{text}: MORE THAN {MOST_APART} APART"), held


def _band(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"
