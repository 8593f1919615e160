"""From a request to the first training step on a warm trainer, against a script started cold."""

import time
from pathlib import Path
from statistics import median

from tests.benchmarks.deployment import Jobs, Story, classifier_spec, jobs_of, upload_folder, vision_platform
from tests.benchmarks.images import digits_folder
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import PEERS, Settings, start
from tuneyard.v1 import event_pb2, job_pb2, training_pb2

IMAGE_SIZE, SIDE = 64, 73
SMALL = "squeezenet1_1"
LARGER = "resnet18"
"""Its first step takes longer by itself: it is compared with the script alone."""


def measure(settings: Settings) -> list[Row]:
    """The time until a subscriber sees the first step, as a whole and against the cold script."""
    data = digits_folder(settings.data / "digits-73", side=SIDE, classes=10, train=640, validation=320)
    rows: list[Row] = []
    with vision_platform(settings) as running, jobs_of(running) as jobs:
        dataset = upload_folder(running, data)
        for model in (SMALL, LARGER):
            spec = classifier_spec(dataset, model=model, image_size=IMAGE_SIZE)
            spec.hyperparameters.max_steps = 10_000
            rows += _rows(settings, jobs, spec, data)
    return rows


def _rows(settings: Settings, jobs: Jobs, spec: training_pb2.TrainingSpec, data: Path) -> list[Row]:
    model = spec.base_model
    _until_first_step(jobs, spec)  # fills the caches
    measured: list[tuple[float, Story]] = []
    cold: list[float] = []
    for number in range(settings.times(10 if model == SMALL else 5, 2)):
        measured.append(_until_first_step(jobs, spec))
        if number < settings.times(3 if model == SMALL else 2, 1):
            cold.append(_cold_script(settings, model, data))
    settings.tell(f"{model}:")
    for line in _where_it_goes([story for _, story in measured]):
        settings.tell(line)
    ours = [seconds for seconds, _ in measured]
    against_script = Row(
        name=f"{model}: first step, warm trainer vs cold script",
        unit="s",
        ours=median(ours),
        peer=median(cold),
        ratio=median(ours) / median(cold),
        target=Target("ratio", "<=", 0.2),
        guard=f"{IMAGE_SIZE} px, batch 16, the same images; {len(ours)} jobs, {len(cold)} scripts",
    )
    if model != SMALL:
        return [against_script]
    itself = Row(
        name=f"{model}: request to first step seen, p50",
        unit="s",
        ours=median(ours),
        target=Target("ours", "<=", 0.3),
        guard=f"{IMAGE_SIZE} px, dataset and pixels cached; worst {max(ours):.2f} s",
    )
    return [itself, against_script]


def _until_first_step(jobs: Jobs, spec: training_pb2.TrainingSpec) -> tuple[float, Story]:
    requested = time.time()
    job = jobs.train(spec)
    story = jobs.follow(job.name, until=_is_first_step)
    seconds = story.received[-1] - requested
    jobs.cancel(job.name)
    if not _is_first_step(story.events[-1]):
        raise RuntimeError(f"no step was made: {story.events[-1]}")
    return seconds, story


def _is_first_step(event: event_pb2.JobEvent) -> bool:
    return event.progress.step >= 1 or event.metrics.step >= 1


def _cold_script(settings: Settings, model: str, data: Path) -> float:
    started = time.perf_counter()
    options = ["--architecture", model, "--image-size", IMAGE_SIZE, "--device", settings.device]
    with start([PEERS / "train.py", data, *options]) as script:
        assert script.stdout is not None
        line = script.stdout.readline()
        seconds = time.perf_counter() - started
        if not line.startswith("step 1") or script.wait():
            raise RuntimeError("the cold script failed")
    return seconds


def _where_it_goes(stories: list[Story]) -> list[str]:
    """The median time of each event after the request's first event."""
    lines: list[str] = []
    for index, event in enumerate(stories[0].events):
        try:
            offsets = [_at(story.events[index]) - _at(story.events[0]) for story in stories]
        except IndexError:
            break
        lines.append(f"{median(offsets) * 1e3:6.0f} ms  {_title(event)}")
    seen = [story.received[-1] - _at(story.events[0]) for story in stories]
    return [*lines, f"{median(seen) * 1e3:6.0f} ms  seen by the subscriber"]


def _at(event: event_pb2.JobEvent) -> float:
    return event.time.ToNanoseconds() / 1e9


def _title(event: event_pb2.JobEvent) -> str:
    kind = event.WhichOneof("body") or ""
    if event.HasField("state_change"):
        return job_pb2.JobState.Name(event.state_change.to).removeprefix("JOB_STATE_")
    if event.HasField("stage"):
        return f"{event.stage.name} {'done' if event.stage.done else 'begins'}"
    return kind
