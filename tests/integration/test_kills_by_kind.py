"""Whatever is killed, each kind of training ends with the losses and weights of one that nobody disturbed."""

import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from tests.support.defects_images import encoded, picture
from tests.support.digits import digits
from tests.support.kills import assert_truthful, kill
from tests.support.learnable_task import jsonl, learnable_task
from tests.support.llm_platform import fine_tuning, finished
from tests.support.platform import Platform, eventually, platform
from tests.support.shapes import Drawing, write_shapes
from tests.support.tiny_diffusion import tiny_pipeline
from tests.support.tiny_llm import tiny_llama
from tuneyard.client import Client
from tuneyard.v1 import event_pb2, job_pb2, training_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STEPS, SAVE_STEPS = 100, 5
# A pause between steps makes the moments of kills fall among the steps, however fast the machine is.
SLOW = {"TUNEYARD_TEST_FAULTS": "slow_step=0.05s", "TUNEYARD_OFFLINE": "true"}
SOAK_SEEDS = range(1000, 1010)

MakeSpec = Callable[[Client, Path], training_pb2.TrainingSpec]


@pytest.fixture(scope="module")
def platform_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Platform]]:
    """The platform of a family, started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def started(family: str) -> Platform:
            trainers, root = {family: f"tuneyard.{family}"}, tmp_path_factory.mktemp(family)
            return stack.enter_context(platform(root / "platform", trainers=trainers, extra=SLOW))

        yield started


def classifier(client: Client, folder: Path, *, precision: str) -> training_pb2.TrainingSpec:
    (folder / "digits.zip").write_bytes(digits(12))
    spec = training_pb2.TrainingSpec(
        dataset=client.datasets.upload(folder / "digits.zip", format="image-folder").name,
        # Small, so that a checkpoint costs no more than a step; with dropout and normalisation.
        base_model="mobilenet_v3_small",
        image_classifier=training_pb2.ImageClassifier(pretrained=False, image_size=32),
    )
    spec.hyperparameters.precision = training_pb2.Precision.Value(f"PRECISION_{precision}")
    return spec


def detector(client: Client, folder: Path) -> training_pb2.TrainingSpec:
    write_shapes(folder / "shapes", train=24, val=6, drawing=Drawing(size=(96, 96)))
    spec = training_pb2.TrainingSpec(
        dataset=client.datasets.upload(folder / "shapes", format="yolo").name,
        base_model="yolov8n.pt",
        object_detector=training_pb2.ObjectDetector(pretrained=False, image_size=96, close_mosaic_epochs=2),
    )
    # From scratch on so few images the loss swings: at this rate not so far that the run goes back.
    spec.hyperparameters.learning_rate, spec.hyperparameters.precision = 2e-4, training_pb2.PRECISION_FP32
    return spec


def language_model(client: Client, folder: Path, *, method: str) -> training_pb2.TrainingSpec:
    if not client.models.list(family="llm"):
        client.models.upload(tiny_llama(folder / "llama"), family="llm", name="llama")
        client.models.wait_ready("llama")
    (folder / "rows.jsonl").write_bytes(jsonl(learnable_task(80).train))
    dataset = client.datasets.upload(folder / "rows.jsonl", format="jsonl").name
    return fine_tuning(dataset, "models/llama", method)


def text_to_image(client: Client, folder: Path) -> training_pb2.TrainingSpec:
    client.models.upload(tiny_pipeline(folder / "pipeline"), family="diffusion", name="pipeline")
    client.models.wait_ready("pipeline")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for number in range(8):
            archive.writestr(f"{number}.png", encoded(picture(number).resize((72, 72))))
            archive.writestr(f"{number}.txt", f"a drawing of number {number}")
    spec = training_pb2.TrainingSpec(
        dataset=client.datasets.upload(folder / "pictures.zip", format="captioned-images").name,
        base_model="models/pipeline",
        text_to_image_lora=training_pb2.TextToImageLora(resolution=64, horizontal_flip=0.5, ema_decay=0.9),
    )
    spec.hyperparameters.precision = training_pb2.PRECISION_FP32
    return spec


@dataclass(frozen=True)
class Kind:
    """What is trained, of which family, and where its weights are at the end."""

    family: str
    spec: MakeSpec
    weights: str = "model.safetensors"


KINDS: Mapping[str, Kind] = {
    "classifier": Kind("vision", partial(classifier, precision="FP32")),
    "classifier-bf16": Kind("vision", partial(classifier, precision="BF16")),
    "detector": Kind("vision", detector),
    "lora": Kind("llm", partial(language_model, method="lora"), "adapter/adapter_model.safetensors"),
    "full": Kind("llm", partial(language_model, method="full"), "model/model.safetensors"),
    "text-to-image": Kind("diffusion", text_to_image, "pytorch_lora_weights.safetensors"),
}


@dataclass(frozen=True)
class Undisturbed:
    """A kind's training that ran through, on which platform, and its spec."""

    kind: Kind
    running: Platform
    spec: training_pb2.TrainingSpec
    losses: Mapping[int, float]
    weights: bytes


@pytest.fixture(scope="module", params=KINDS)
def undisturbed(
    request: pytest.FixtureRequest,
    platform_of: Callable[[str], Platform],
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
    kind = KINDS[request.param]
    running = platform_of(kind.family)
    with Client(running.address) as client:
        spec = kind.spec(client, tmp_path_factory.mktemp("given"))
        spec.dataset = client.datasets.wait_ready(spec.dataset).name
    spec.seed, spec.checkpoints.save_steps = 1, SAVE_STEPS
    spec.hyperparameters.max_steps, spec.hyperparameters.batch_size = STEPS, 4
    spec.hyperparameters.eval_steps, spec.resources.cpu_threads = 30, 1
    job, events = finished(running, running.train(spec), within=300)
    return Undisturbed(
        kind, running, spec, dict(train_losses(events)), running.artifact(job.name, kind.weights)
    )


def train_losses(events: list[event_pb2.JobEvent]) -> Iterator[tuple[int, float]]:
    for event in events:
        if "train/loss" in event.metrics.values:
            yield event.metrics.step, event.metrics.values["train/loss"]


def paused_and_resumed(running: Platform, job: str) -> None:
    running.pause(job)
    eventually(lambda: running.job(job).state == job_pb2.JOB_STATE_PAUSED, within=60, what="the pause")
    running.resume(job)


def disturb(calm: Undisturbed, *, seed: int) -> None:
    """Trains the same, paused and killed four times at random moments: the end is the same, to the bit."""
    draw, running = random.Random(seed), calm.running
    job = running.train(calm.spec).name
    watcher = running.watch(job)
    # The gateway last: the run goes on without it, and may have ended when it is back.
    targets = ("pause", *draw.sample(("worker", "warm", "trainer"), 3), "gateway")
    for attempt, target in enumerate(targets, start=1):
        # Importing a family takes its time where the machine does other things as well.
        watcher.at_a_checkpoint_of(attempt, within=300)
        watcher.finished.wait(draw.uniform(0, 0.3))
        if target == "pause":
            paused_and_resumed(running, job)
            continue
        assert kill(running, target), f"no {target} to kill, seed {seed}"
    events = watcher.wait(within=300)
    assert assert_truthful(running, job, events).attempt_count == 5, "a gateway's death costs no attempt"
    told = list(train_losses(events))
    assert [(step, calm.losses.get(step, loss)) for step, loss in told] == told
    assert running.artifact(job, calm.kind.weights) == calm.weights, f"seed {seed}"


def test_pauses_and_kills_change_neither_losses_nor_weights(undisturbed: Undisturbed) -> None:
    disturb(undisturbed, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_forty_kills_change_neither_losses_nor_weights(undisturbed: Undisturbed) -> None:
    for seed in SOAK_SEEDS:
        disturb(undisturbed, seed=seed)
