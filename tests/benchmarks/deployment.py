"""A platform of real processes to measure: datasets go in, jobs run, their events say when what happened."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from tests.benchmarks.settings import Settings
from tests.support.platform import TERMINAL, Platform, Service, platform
from tuneyard.client import Client, ConnectionSettings
from tuneyard.v1 import dataset_pb2, event_pb2, job_pb2, training_pb2, training_service_pb2
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

_PRECISION = re.compile(r"; (fp32|bf16|fp16) on ")


@contextmanager
def fake_platform(settings: Settings, name: str) -> Iterator[Platform]:
    """A gateway and a trainer with the scripted recipe, ready."""
    with platform(settings.scratch / name, trainers={"vision": "tuneyard.trainer.fake"}) as started:
        yield started


@contextmanager
def vision_platform(settings: Settings) -> Iterator[Platform]:
    """A gateway and a vision trainer, ready: one for all benchmarks that follow each other and need it."""
    if settings.kept.platform is None:
        settings.kept.platform = settings.kept.stack.enter_context(
            platform(
                settings.scratch / "vision",
                trainers={"vision": "tuneyard.vision"},
                extra=settings.trainer_environment,
            )
        )
    yield settings.kept.platform


@contextmanager
def client_of(running: Platform) -> Iterator[Client]:
    """The SDK's client of a platform."""
    with Client(ConnectionSettings(server=running.address)) as client:
        yield client


def upload_folder(running: Platform, folder: Path) -> str:
    """Uploads an image folder; returns the dataset's name when it is READY."""
    with client_of(running) as client:
        name = client.datasets.upload(folder, format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER).name
        return client.datasets.wait_ready(name).name


def classifier_spec(
    dataset: str, *, image_size: int, model: str = "resnet18", batch_size: int = 16
) -> training_pb2.TrainingSpec:
    """A network from scratch that varies images as the peers do, saved and evaluated only when told to."""
    spec = training_pb2.TrainingSpec(dataset=dataset, base_model=model)
    spec.image_classifier.pretrained = False
    spec.image_classifier.image_size = image_size
    # Recommended for sets as small as these, and in none of the peers.
    spec.image_classifier.augmentation.randaugment_magnitude = 0
    spec.hyperparameters.batch_size = batch_size
    spec.hyperparameters.learning_rate = 1e-3
    spec.checkpoints.save_steps = 1_000_000
    return spec


@dataclass
class Story:
    """A job's events as they came."""

    job: str
    events: list[event_pb2.JobEvent] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    """When, by `time.time`."""

    def first(self, condition: Callable[[event_pb2.JobEvent], bool]) -> event_pb2.JobEvent | None:
        """The first event that meets a condition."""
        return next((event for event in self.events if condition(event)), None)

    @property
    def result(self) -> event_pb2.ResultEvent:
        """How the job ended; an error where it did not end well."""
        for event in reversed(self.events):
            if event.HasField("result"):
                return event.result
        raise RuntimeError(f"{self.job} did not succeed: {self.events[-1]}")

    @property
    def precision(self) -> str:
        """What the recipe says that it computes in."""
        logged = (_PRECISION.search(event.log.message) for event in self.events if event.HasField("log"))
        return next((found[1] for found in logged if found), "")

    def training_seconds(self) -> list[float]:
        """The time of each stretch of training between two evaluations.

        From the record that follows an evaluation's pictures to the record with which the next one begins:
        both are written at once, while progress is thinned out.
        """
        stretches: list[float] = []
        resumed: float | None = None
        for event in self.events:
            at = event.time.ToNanoseconds() / 1e9
            if event.HasField("sample") and "redict" in event.sample.title:
                resumed = at
            elif event.HasField("stage") and event.stage.name == "evaluate" and not event.stage.done:
                if resumed is not None:
                    stretches.append(at - resumed)
                resumed = None
        return stretches


class Jobs:
    """Starts jobs over one connection and reads their events."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = TrainingServiceStub(channel)

    def train(self, spec: training_pb2.TrainingSpec) -> job_pb2.Job:
        """Creates a job."""
        return self._stub.Train(training_service_pb2.TrainRequest(spec=spec), timeout=30).job

    def follow(self, job: str, *, until: Callable[[event_pb2.JobEvent], bool] | None = None) -> Story:
        """Reads a job's events to the end, or to the first that meets a condition."""
        story = Story(job)
        call = self._stub.WatchJob(training_service_pb2.WatchJobRequest(name=job))
        try:
            for response in call:
                now = time.time()
                for event in response.events:
                    story.events.append(event)
                    story.received.append(now)
                    if until is not None and until(event):
                        return story
        finally:
            call.cancel()
        return story

    def run(self, spec: training_pb2.TrainingSpec) -> Story:
        """Creates a job and reads it to its end; an error where it does not succeed."""
        story = self.follow(self.train(spec).name)
        _ = story.result
        return story

    def cancel(self, job: str) -> None:
        """Cancels a job and waits until it is over."""
        self._stub.CancelJob(training_service_pb2.CancelJobRequest(name=job), timeout=10)
        state = job_pb2.JOB_STATE_UNSPECIFIED
        while state not in TERMINAL:
            state = self._stub.GetJob(training_service_pb2.GetJobRequest(name=job), timeout=10).job.state
            time.sleep(0.01)


@contextmanager
def jobs_of(running: Platform) -> Iterator[Jobs]:
    """Jobs over one connection."""
    with closing(running.channel()) as channel:
        yield Jobs(channel)


def resident_bytes(service: Service) -> int:
    """The resident memory of a service's own process."""
    return int(psutil.Process(service.pid).memory_info().rss)


@contextmanager
def suspended(running: Platform) -> Iterator[None]:
    """Every process of the platform stands still meanwhile, so that it costs nothing."""
    services = [*running.gateways, *running.trainers.values()]
    processes = [p for service in services for p in (psutil.Process(service.pid), *service.children())]
    for process in processes:
        _send(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            _send(process, signal.SIGCONT)
        running.wait_ready()


def _send(process: psutil.Process, what: signal.Signals) -> None:
    # The worker of the job before may have been about to end.
    with suppress(psutil.NoSuchProcess):
        process.send_signal(what)
