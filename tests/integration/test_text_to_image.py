"""Text-to-image LoRAs through the whole platform, from an imported pipeline to pictures of a merged one."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from tests.support.diffusion_platform import (
    captioned_pictures,
    diffusion_platform,
    lora_training,
    upload_captioned,
    with_class_images,
)
from tests.support.llm_platform import finished, import_base, run_plainly, tuneyard
from tests.support.platform import Platform, assert_gapless, eventually
from tests.support.tiny_diffusion import tiny_clip, tiny_pipeline
from tuneyard.v1 import event_pb2, job_pb2, training_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
PLAIN_DRAWING = Path(__file__).parents[1] / "support" / "plain_drawing.py"
WEIGHTS = "pytorch_lora_weights.safetensors"
SLOW = "slow_step=0.1"
"""So that there is time to pause and to kill."""


@dataclass(frozen=True)
class Ready:
    """A running platform with a pipeline of random weights and captioned pictures."""

    platform: Platform
    base: Path
    base_model: str
    dataset: str
    with_class: str
    """The same dataset with class images."""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    root = tmp_path_factory.mktemp("pictures")
    base = tiny_pipeline(root / "base" / "tiny")
    with diffusion_platform(root / "platform", faults=SLOW) as running:
        name = import_base(running, base, "tiny", family="diffusion")
        drawn = upload_captioned(running, root, "drawn", captioned_pictures())
        with_class = upload_captioned(running, root, "with-class", with_class_images())
        yield Ready(running, base, name, drawn, with_class)


@pytest.fixture(scope="module")
def trained(ready: Ready) -> job_pb2.Job:
    """A finished training of twelve steps, asked for on the command line."""
    *_, job = tuneyard(
        ready.platform,
        *("train", "text-to-image-lora", "--dataset", ready.dataset, "--base-model", ready.base_model),
        *("--max-steps", 12, "--batch-size", 2, "--gradient-accumulation-steps", 1, "--lora-r", 4),
        *("--learning-rate", 0.05, "--resolution", 64, "--precision", "fp32", "--eval-steps", 6),
        *("--sample-steps", 6, "--validation-prompts", "a red circle", "--trigger-words", "zwx"),
    )
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    return ready.platform.job(job["name"])


def spec(ready: Ready, *, prior: bool = False, **settings: Any) -> training_pb2.TrainingSpec:
    dataset = ready.with_class if prior else ready.dataset
    return lora_training(dataset, ready.base_model, prior=prior, **settings)


def losses(events: list[event_pb2.JobEvent]) -> dict[int, float]:
    return {
        e.metrics.step: e.metrics.values["train/loss"] for e in events if "train/loss" in e.metrics.values
    }


def test_an_imported_folder_says_what_it_is(ready: Ready) -> None:
    (model,) = tuneyard(ready.platform, "models", "show", ready.base_model)
    assert (model["family"], model["architecture"]) == ("FAMILY_DIFFUSION", "StableDiffusionPipeline")


def test_pickled_weights_are_refused(ready: Ready, tmp_path: Path) -> None:
    folder = tiny_pipeline(tmp_path / "pickled")
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    asked = ("models", "import", folder, "--family", "diffusion", "--name", "pickled")
    (refused,) = tuneyard(ready.platform, *asked, code=1)
    assert "pickle" in json.dumps(refused)


def test_bad_images_and_captions_are_named(ready: Ready, tmp_path: Path) -> None:
    files = captioned_pictures() | {
        "train/0.png": b"no picture",
        "train/1.txt": b"",
        "train/alone.txt": b"a caption of nothing",
    }
    dataset = upload_captioned(ready.platform, tmp_path, "bad", files, code=1)
    (shown,) = tuneyard(ready.platform, "datasets", "show", dataset)
    assert shown["state"] == "DATASET_STATE_INVALID"
    places = {(finding["code"], finding.get("path")) for finding in shown["report"]["findings"]}
    assert {
        ("IMAGE_UNREADABLE", "train/0.png"),
        ("CAPTION_EMPTY", "train/1.txt"),
        ("CAPTION_WITHOUT_IMAGE", "train/alone.txt"),
    } <= places


def test_an_estimate_grows_with_the_resolution(ready: Ready) -> None:
    sizes = []
    for resolution in (64, 256):
        (estimate,) = tuneyard(
            ready.platform,
            *("estimate", "text-to-image-lora", "--dataset", ready.dataset, "--base-model", ready.base_model),
            *("--resolution", resolution),
        )
        sizes.append(int(estimate["memory"]["hostBytes"]))
    assert 0 < sizes[0] < sizes[1]


def test_samples_losses_and_files_come_while_it_trains(ready: Ready, trained: job_pb2.Job) -> None:
    events = ready.platform.watch(trained.name).wait()
    assert_gapless(events)
    drawn = [e.sample.artifact_path for e in events if e.HasField("sample")]
    assert drawn == ["samples/step-000006.png", "samples/step-000012.png"]
    shown = Image.open(io.BytesIO(ready.platform.artifact(trained.name, drawn[-1])))
    base, tuned = shown.crop((0, 20, 64, 84)), shown.crop((68, 20, 132, 84))
    assert base.tobytes() != tuned.tobytes()
    held_out = {e.metrics.step for e in events if "eval/loss" in e.metrics.values}
    assert held_out == {0, 6, 12} and max(losses(events)) == 12


def test_pauses_and_kills_change_neither_losses_nor_weights_with_class_images(ready: Ready) -> None:
    """Without class images: test_kills_by_kind.py."""
    asked = spec(ready, prior=True, max_steps=14)
    whole, calm = finished(ready.platform, ready.platform.train(asked))
    disturbed = ready.platform.train(asked)
    watcher = ready.platform.watch(disturbed.name)
    watcher.at_step(2)
    ready.platform.pause(disturbed.name)
    eventually(
        lambda: ready.platform.job(disturbed.name).state == job_pb2.JOB_STATE_PAUSED,
        within=60,
        what="the pause",
    )
    ready.platform.resume(disturbed.name)
    watcher.wait_for(lambda events: any(e.checkpoint.checkpoint.step >= 6 for e in events), within=120)
    for worker in ready.platform.workers():
        worker.kill()
    events = watcher.wait(within=120)
    assert_gapless(events)
    ended = ready.platform.job(disturbed.name)
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.attempt_count >= 3
    assert losses(events) == {step: losses(calm)[step] for step in losses(events)}
    weights, others = (load(ready.platform.artifact(name, WEIGHTS)) for name in (whole.name, ended.name))
    assert all(np.array_equal(weights[name], others[name]) for name in weights.keys() | others.keys())


def test_class_images_are_counted_trained_on_and_told_of(ready: Ready) -> None:
    (estimate,) = tuneyard(
        ready.platform,
        *("estimate", "text-to-image-lora", "--dataset", ready.with_class, "--base-model", ready.base_model),
        *("--class-prompt", "a circle", "--prior-loss-weight", 0.5, "--epochs", 1, "--batch-size", 2),
        *("--gradient-accumulation-steps", 1, "--resolution", 64),
    )
    # An epoch sees as many class images as others.
    assert (estimate["trainSamples"], estimate["totalSteps"]) == ("8", "8"), estimate
    asked = spec(ready, prior=True, epochs=1)
    job, events = finished(ready.platform, ready.platform.train(asked))
    assert not {e.warning.code for e in events if e.HasField("warning")} & {
        "class_images_unused",
        "class_captions_missing",
    }
    assert max(losses(events)) == 8
    manifest = json.loads(ready.platform.artifact(job.name, "manifest.json"))
    assert (manifest["train_images"], manifest["class_images"]) == (8, 4)
    _, without = finished(ready.platform, ready.platform.train(spec(ready, max_steps=1)))
    assert losses(events)[1] != losses(without)[1]


def test_a_prior_without_class_images_is_refused_at_its_field(ready: Ready) -> None:
    (refused,) = tuneyard(
        ready.platform,
        *("train", "text-to-image-lora", "--dataset", ready.dataset, "--base-model", ready.base_model),
        *("--class-prompt", "a circle", "--detach"),
        code=2,
    )
    assert "prior_loss_weight" in json.dumps(refused)


def test_a_cancelled_training_ends_and_frees_its_slot(ready: Ready) -> None:
    job = ready.platform.train(spec(ready, max_steps=500))
    watcher = ready.platform.watch(job.name)
    watcher.at_step(2)
    ready.platform.cancel(job.name)
    watcher.wait(within=10)
    assert ready.platform.job(job.name).state == job_pb2.JOB_STATE_CANCELLED
    eventually(lambda: not ready.platform.workers(), within=10, what="no worker left")


def test_both_exports_and_a_merge_draw_the_same_in_plain_diffusers(
    ready: Ready, trained: job_pb2.Job, tmp_path: Path
) -> None:
    for form in ("adapter", "kohya"):
        tuneyard(ready.platform, "export", trained.name, "--to", form, "-o", tmp_path / form)
    (plain,) = (tmp_path / "adapter").rglob(WEIGHTS)
    (kohya,) = (tmp_path / "kohya").rglob("zwx.safetensors")
    *_, merged = tuneyard(ready.platform, "merge", trained.name, "--output-path", "models/merged")
    assert merged["state"] == "JOB_STATE_SUCCEEDED", merged
    tuneyard(ready.platform, "artifacts", "download", merged["name"], "-o", tmp_path / "merged")
    (index,) = (tmp_path / "merged").rglob("model_index.json")
    base, *tuned = run_plainly(
        PLAIN_DRAWING,
        "a red circle",
        *((ready.base,), (ready.base, plain), (ready.base, kohya), (index.parent,)),
    )
    assert np.abs(np.subtract(tuned[0], base)).max() > 1e-2
    for other in tuned[1:]:
        assert np.abs(np.subtract(other, tuned[0])).max() < 1e-3
    again = lora_training(ready.dataset, "models/merged", max_steps=1)
    finished(ready.platform, ready.platform.train(again))


def test_a_finished_model_draws_and_is_measured(ready: Ready, trained: job_pb2.Job, tmp_path: Path) -> None:
    tuneyard(
        ready.platform,
        *("generate", trained.name, "a red circle", "-o", tmp_path, "--base", "--steps", 2, "--seed", 5),
        *("--width", 64, "--height", 64),
    )
    pictures = [Image.open(path).convert("RGB").tobytes() for path in tmp_path.glob("*.png")]
    assert len(pictures) == 2 and pictures[0] != pictures[1]
    tuneyard(ready.platform, "evaluate", trained.name, "-o", tmp_path / "report")
    (report,) = (tmp_path / "report").rglob("report.json")
    told = json.loads(report.read_text())
    assert told["metrics"]["loss"] != told["base"]["metrics"]["loss"]


def test_a_clip_model_of_the_store_scores_what_is_drawn(ready: Ready, tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "looks")
    (model,) = tuneyard(ready.platform, "models", "import", folder, "--name", "looks")
    assert (model["family"], model.get("tasks", [])) == ("FAMILY_DIFFUSION", [])
    *_, job = tuneyard(
        ready.platform,
        *("train", "text-to-image-lora", "--dataset", ready.dataset, "--base-model", ready.base_model),
        *("--max-steps", 2, "--batch-size", 2, "--gradient-accumulation-steps", 1, "--learning-rate", 0.05),
        *("--resolution", 64, "--precision", "fp32", "--validation-prompts", "a red circle"),
        *("--clip-model", "looks"),
    )
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    events = ready.platform.watch(job["name"]).wait()
    scores = {e.metrics.step: e.metrics.values["eval/clip_score"] for e in events if _is_scored(e)}
    assert scores.keys() == {0, 2} and min(scores.values()) > 0
    (evaluated,) = tuneyard(ready.platform, "evaluate", job["name"])
    report = evaluated["report"]
    assert report["metrics"]["clip_score"] != report["base"]["metrics"]["clip_score"]
    (refused,) = tuneyard(
        ready.platform, "evaluate", job["name"], "--clip-model", ready.base_model, "--detach", code=2
    )
    assert "is no CLIP model" in json.dumps(refused)
    tuneyard(ready.platform, "models", "delete", "looks")
    again = tuneyard(ready.platform, "evaluate", job["name"])[0]["report"]
    assert again["metrics"].keys() == {"loss"}


def _is_scored(event: event_pb2.JobEvent) -> bool:
    return "eval/clip_score" in event.metrics.values


def test_a_training_without_room_goes_on_with_smaller_batches(ready: Ready) -> None:
    running = ready.platform
    name, trainer = next(iter(running.trainers.items()))
    environment = {**trainer.environment, "TUNEYARD_TEST_FAULTS": "oom@step=2"}
    trainer.kill()
    running.trainers[name] = replace(trainer, environment=environment)
    running.trainer.start()
    running.wait_ready()
    _, events = finished(running, running.train(spec(ready, max_steps=3)))
    (told,) = (e.oom_recovered for e in events if e.HasField("oom_recovered"))
    assert (told.step, told.old_batch_size, told.new_batch_size) == (2, 2, 1)
    assert max(losses(events)) == 3
