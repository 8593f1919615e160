"""The detector's speed against `yolo detect train`: trainings with their evaluations, without start-up."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.deployment import Jobs, Story, client_of, jobs_of, vision_platform
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import PEERS, Settings, result_of
from tests.support.platform import Platform
from tests.support.shapes import CLASSES, Drawing, write_shapes
from tuneyard.v1 import dataset_pb2, training_pb2

BATCH_SIZE = 16
WARMUP_SHARE = 0.05
THREADS = 2
REPETITIONS = 1
"""A round of all four takes over a minute, and the ratios are far from their targets."""


@dataclass(frozen=True)
class Case:
    """A set of drawn shapes and a training on it."""

    image_size: int
    train: int
    validation: int
    epochs: int
    learning_rate: float
    close_mosaic: int = 1


SPEED = Case(image_size=160, train=240, validation=48, epochs=3, learning_rate=1e-3)


@dataclass
class Figures:
    """Seconds, mAP50 and peak memory, one of each for each repetition."""

    seconds: list[float] = field(default_factory=list)
    map50: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)


def measure(settings: Settings) -> list[Row]:
    """Ours in its own precision and in fp32, the peer at its defaults and with our threads; in turn."""
    data = shapes_folder(settings, SPEED)
    ours, fp32, peer, threaded = (Figures() for _ in range(4))
    precision = ""
    with vision_platform(settings) as running, jobs_of(running) as jobs:
        dataset = upload_shapes(running, data)
        # The first job decodes, and finds out which precision is faster.
        jobs.run(detector_spec(dataset, SPEED, seed=99, max_steps=2))
        for seed in range(REPETITIONS):
            spec = detector_spec(dataset, SPEED, seed=seed)
            precision = note(ours, jobs, running, spec)
            note_peer(peer, settings, SPEED, data, seed=seed)
            spec.hyperparameters.precision = training_pb2.PRECISION_FP32
            note(fp32, jobs, running, spec)
            note_peer(threaded, settings, SPEED, data, seed=seed, threads=THREADS)
            settings.tell(
                f"seed {seed}: {precision} {ours.seconds[-1]:.1f} s, fp32 {fp32.seconds[-1]:.1f} s, peer"
                f" {peer.seconds[-1]:.1f} s, with {THREADS} threads {threaded.seconds[-1]:.1f} s"
            )
    return _rows(precision, ours, fp32, peer, threaded)


def _rows(precision: str, ours: Figures, fp32: Figures, peer: Figures, threaded: Figures) -> list[Row]:
    about = f"{SPEED.epochs} epochs of {SPEED.train} at {SPEED.image_size} px"
    same = "same data, batch, optimizer and rates; each epoch validated; quality: --only detector_quality"
    return [
        _row(f"yolov8n, {about}, {precision}, vs yolo detect train", ours, peer, 1.5, same),
        _row(f"yolov8n, {about}, fp32, vs yolo detect train", fp32, peer, 1.2, same),
        _row(f"yolov8n, {about}, {precision}, vs the same with {THREADS} threads", ours, threaded, 1.2, same),
        Row(
            name=f"yolov8n, {about}, peak memory vs yolo detect train",
            unit="MiB",
            ours=median(ours.peak_bytes) / 2**20,
            peer=median(peer.peak_bytes) / 2**20,
            ratio=median(ours.peak_bytes) / median(peer.peak_bytes),
            target=Target("ratio", "<=", 1.0),
            guard="anonymous memory of the whole process",
        ),
    ]


def _row(name: str, ours: Figures, peer: Figures, wanted: float, guard: str) -> Row:
    return Row(
        name=name,
        unit="s",
        ours=median(ours.seconds),
        peer=median(peer.seconds),
        ratio=paired_ratio(peer.seconds, ours.seconds),
        target=Target("ratio", ">=", wanted),
        guard=guard,
    )


def shapes_folder(settings: Settings, case: Case) -> Path:
    """Draws the set once, with a data.yaml for us and one with absolute paths for the peer."""
    root = settings.data / f"shapes-{case.image_size}-{case.train}-{case.validation}"
    if not root.exists():
        partial = root.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        side = case.image_size
        write_shapes(partial, train=case.train, val=case.validation, drawing=Drawing(size=(side, side)))
        (partial / "absolute.yaml").write_text(
            f"path: {root}\ntrain: images/train\nval: images/val\nnames: [{', '.join(CLASSES)}]\n"
        )
        partial.rename(root)
    return root


def upload_shapes(running: Platform, data: Path) -> str:
    """Uploads the set without the peer's files; returns the dataset's name when it is READY."""
    clean = running.root / data.name
    shutil.copytree(data, clean, ignore=shutil.ignore_patterns("absolute.yaml", "*.cache"))
    with client_of(running) as client:
        name = client.datasets.upload(clean, format=dataset_pb2.DATASET_FORMAT_YOLO).name
        return client.datasets.wait_ready(name).name


def detector_spec(
    dataset: str, case: Case, *, seed: int, max_steps: int | None = None
) -> training_pb2.TrainingSpec:
    """A detector from scratch."""
    spec = training_pb2.TrainingSpec(dataset=dataset, base_model="yolov8n", seed=seed)
    spec.object_detector.pretrained = False
    spec.object_detector.image_size = case.image_size
    spec.object_detector.close_mosaic_epochs = case.close_mosaic
    spec.hyperparameters.batch_size = BATCH_SIZE
    spec.hyperparameters.learning_rate = case.learning_rate
    spec.hyperparameters.warmup_ratio = WARMUP_SHARE
    if max_steps is None:
        spec.hyperparameters.epochs = case.epochs
    else:
        spec.hyperparameters.max_steps = max_steps
    return spec


def note(figures: Figures, jobs: Jobs, running: Platform, spec: training_pb2.TrainingSpec) -> str:
    """Runs a job and notes its figures; returns its precision."""
    story = jobs.run(spec)
    figures.seconds.append(training_seconds(story))
    figures.map50.append(story.result.metrics["eval/map50"])
    figures.peak_bytes.append(running.job(story.job).peak_memory.host_bytes)
    return story.precision


def training_seconds(story: Story) -> float:
    """From the stage in which the steps are made to the end of the job, with every artifact stored."""
    begun = story.first(lambda event: event.stage.name == "train" and not event.stage.done)
    ended = story.first(lambda event: event.HasField("result"))
    if begun is None or ended is None:
        raise RuntimeError(f"{story.job} has no training stage, or no end")
    return (ended.time.ToNanoseconds() - begun.time.ToNanoseconds()) / 1e9


def note_peer(
    figures: Figures, settings: Settings, case: Case, data: Path, *, seed: int, threads: int = 0
) -> None:
    """Runs the peer and notes its figures."""
    named = {
        "--image-size": case.image_size,
        "--batch-size": BATCH_SIZE,
        "--epochs": case.epochs,
        "--learning-rate": case.learning_rate,
        "--close-mosaic": case.close_mosaic,
        "--warmup-share": WARMUP_SHARE,
        "--seed": seed,
        "--threads": threads,
        "--device": settings.device,
    }
    arguments: Sequence[Any] = [part for pair in named.items() for part in pair]
    found = result_of([PEERS / "ultralytics_detect.py", data, *arguments])
    figures.seconds.append(found["seconds"])
    figures.map50.append(found["map50"])
    figures.peak_bytes.append(found["peak_bytes"])
