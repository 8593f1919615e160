"""Evaluating finished LoRAs: the held-out images of the training, base beside tuned, and a report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.defects_images import encoded, picture
from tests.support.finished_diffusion import finished_training
from tests.support.tiny_diffusion import tiny_clip
from tuneyard.datasets import check
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.diffusion.evaluate import evaluate
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.samples import make_splits
from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

Finished = Callable[..., tuple[EvaluateConfig, TextToImageConfig, FakeRun]]
SHA256 = "a" * 64


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A finished job as its evaluation finds it."""

    def make(split: str = "val", **facts: Any) -> tuple[EvaluateConfig, TextToImageConfig, FakeRun]:
        root = tmp_path / "set"
        root.mkdir()
        for seed in range(10):
            (root / f"{seed}.png").write_bytes(encoded(picture(seed)))
            (root / f"{seed}.txt").write_text(f"a picture of {seed}")
        files = DatasetFiles(root, SHA256, check(root, format="captioned-images"))
        job = finished_training(tmp_path, dataset={"sha256": SHA256}, **facts)
        run = FakeRun(
            root=tmp_path / "run",
            training_files=files,
            base_model_files=job.base,
            source_files=job.artifacts,
        )
        config = EvaluateConfig(
            source_job="jobs/1",
            dataset="datasets/drawn",
            split=split,  # type: ignore[arg-type]
            is_own_dataset=True,
        )
        return config, replace(job.config, validation_fraction=0.3), run

    return make


def told(run: FakeRun, name: str = "report.json") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run.work_dir / name).read_text())
    return loaded


def test_the_held_out_images_are_measured_with_both_models(finished: Finished) -> None:
    config, source, run = finished()
    result = evaluate(config, source, run)
    assert result.metrics.keys() == {"eval/loss", "base/loss"}
    assert result.metrics["eval/loss"] != result.metrics["base/loss"]
    found = told(run)
    held_out = {sample.name for sample in make_splits(source, run).validation}
    assert {image["name"] for image in found["images"]} == held_out
    mean = sum(image["base_loss"] for image in found["images"]) / len(found["images"])
    assert mean == pytest.approx(result.metrics["base/loss"])
    assert "held out" in found["split"]["origin"] and "(base model:" in result.summary


def test_a_clip_model_scores_the_pictures_of_both(finished: Finished, tmp_path: Path) -> None:
    config, source, run = finished(prompts=["a red circle", "a cat"])
    run.clip_files = tiny_clip(tmp_path / "clip")
    result = evaluate(config, source, run)
    assert result.metrics["eval/clip_score"] != result.metrics["base/clip_score"]
    found = told(run)
    assert found["metrics"]["clip_score"] == result.metrics["eval/clip_score"]
    assert found["base"]["metrics"]["clip_score"] == result.metrics["base/clip_score"]
    assert "CLIP score" in (run.work_dir / "report.html").read_text()


def test_images_are_encoded_before_the_model_takes_its_memory(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = finished()
    loaded: list[str] = []
    load_part = Pipeline.load_part

    def told_of(pipeline: Pipeline, name: str, **settings: Any) -> Any:
        loaded.append(name)
        return load_part(pipeline, name, **settings)

    monkeypatch.setattr(Pipeline, "load_part", told_of)
    evaluate(*given)
    # At the end once more, for pictures.
    assert loaded == ["vae", "unet", "text_encoder", "vae"]


def test_pictures_show_base_beside_tuned_and_stand_in_the_report(finished: Finished) -> None:
    config, source, run = finished()
    evaluate(config, source, run)
    grid = Image.open(run.work_dir / "compared.png")
    assert grid.size == (128, 128)
    assert grid.crop((0, 0, 64, 64)).tobytes() != grid.crop((64, 0, 128, 64)).tobytes()
    page = (run.work_dir / "report.html").read_text()
    assert "a red circle" in page and "data:image/png" in page
    assert {"report.json", "report.html", "manifest.json", "samples/compared.png"} == set(run.artifacts)


def test_the_base_is_left_out_where_it_is_not_wanted(finished: Finished) -> None:
    config, source, run = finished(prompts=[])
    result = evaluate(replace(config, compare_with_base=False), source, run)
    assert result.metrics.keys() == {"eval/loss"}
    assert told(run)["base"]["compared"] is False


def test_measuring_trained_images_is_possible_and_warned_of(finished: Finished) -> None:
    config, source, run = finished("train", prompts=[])
    evaluate(config, source, run)
    assert "by heart" in told(run)["warnings"][0]


def test_another_dataset_is_measured_in_whole(finished: Finished) -> None:
    config, source, run = finished("train", prompts=[])
    evaluate(replace(config, is_own_dataset=False), source, run)
    assert (told(run)["split"]["origin"], told(run)["split"]["samples"]) == ("all of the dataset", 10)


def test_a_changed_dataset_is_refused(finished: Finished) -> None:
    config, source, run = finished(held_out="b" * 64)
    with pytest.raises(RecipeError, match="cannot be told"):
        evaluate(config, source, run)


def test_a_validation_dataset_that_changed_is_measured_and_warned_of(finished: Finished) -> None:
    config, source, run = finished(held_out="b" * 64, prompts=[])
    run.validation_files = run.training_files
    evaluate(replace(config, validation_dataset="datasets/other"), source, run)
    assert [warning["code"] for warning in run.all_of("warning")] == ["moved_split"]
    assert "cannot be compared" in told(run)["warnings"][0]


def test_a_stop_ends_it_between_images(finished: Finished) -> None:
    config, source, run = finished()
    run.stop, run.stop_after = Stop.CANCEL, 2
    with pytest.raises(Stopped):
        evaluate(config, source, run)
    assert not run.artifacts


@pytest.mark.integration
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_finished_training_is_measured_as_it_measured_itself(
    upload: Any, configure: Any, start: Any, tmp_path: Path, family: str
) -> None:
    source = configure(epochs=1, train_text_encoder=family == "sd", lora=Lora(r=4, alpha=4.0, use_dora=True))
    files = upload()
    trained = start(files, family=family)
    result = train(source, trained)
    artifacts = tmp_path / "artifacts"
    for name, artifact in trained.artifacts.items():
        target = artifacts / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(artifact.path.read_bytes())
    run = start(files, family=family, root=tmp_path / "again", source_files=artifacts)
    config = EvaluateConfig(source_job="jobs/1", dataset="datasets/d", split="val", is_own_dataset=True)
    found = evaluate(config, source, run)
    assert found.metrics["eval/loss"] == pytest.approx(result.metrics["eval/loss"], rel=1e-5)
    base = json.loads((artifacts / "manifest.json").read_text())["base_metrics"]["eval/loss"]
    assert found.metrics["base/loss"] == pytest.approx(base, rel=1e-5)
