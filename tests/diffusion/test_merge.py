"""Merging LoRA weights into pipelines: what is written draws what both draw, and the rest is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.finished_diffusion import FinishedTraining, finished_training
from tuneyard.diffusion import merge_proof, merged_weights
from tuneyard.diffusion.finished import StoredLora
from tuneyard.diffusion.merge import merge
from tuneyard.diffusion.merge_config import MergeConfig
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

Finished = Callable[..., tuple[MergeConfig, FakeRun, FinishedTraining]]


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A finished job as a merge finds it, whose LoRA does something."""

    def make(family: Any = "sd", **settings: Any) -> tuple[MergeConfig, FakeRun, FinishedTraining]:
        job = finished_training(tmp_path, family, **settings)
        run = FakeRun(root=tmp_path / "run", base_model_files=job.base, source_files=job.artifacts)
        return MergeConfig(source_job="jobs/1", source=job.config), run, job

    return make


def _drawn(folder: Path, lora: Path | None = None) -> Any:
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder)
    if lora:
        pipe.load_lora_weights(str(lora))
    # Networks of random weights amplify fp32's rounding, which differs from process to process, by thousands.
    pipe.to(torch.float64)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        "a star", num_inference_steps=3, width=64, height=64, generator=torch.Generator().manual_seed(3)
    )
    return np.asarray(made.images[0]).astype(int)


def _merged(run: FakeRun) -> Path:
    return run.work_dir / "model"


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_a_merged_pipeline_draws_in_plain_diffusers_what_base_and_lora_draw(finished, family: str) -> None:
    config, run, job = finished(family, text_encoder=True)
    result = merge(config, run)
    expected = _drawn(job.base, job.artifacts)
    assert np.abs(_drawn(_merged(run)) - expected).max() <= 1
    assert np.abs(_drawn(job.base) - expected).max() > 3
    assert result.metrics["merge/mean_prediction_difference"] < 1e-3


def test_dora_s_magnitudes_are_merged_too(finished: Finished) -> None:
    config, run, job = finished(use_dora=True)
    merge(config, run)
    assert np.abs(_drawn(_merged(run)) - _drawn(job.base, job.artifacts)).max() <= 1


def test_the_proof_is_in_the_manifest_and_its_pictures_are_shown(finished: Finished) -> None:
    config, run, _ = finished()
    merge(config, run)
    manifest = json.loads((run.work_dir / "manifest.json").read_text())
    proof = manifest["proof"]
    assert proof["max_prediction_difference"] < 1e-4 < proof["lora_effect"]["max_prediction_difference"]
    assert proof["max_latent_difference"] < proof["lora_effect"]["max_latent_difference"]
    assert manifest["merged_layers"] == 32
    assert run.all_of("sample")[0]["artifact"] == "samples/proof.png"
    assert {"manifest.json", "model/model_index.json", "model/README.md"} <= run.artifacts.keys()


def test_files_of_parts_without_adapters_are_the_base_s(finished: Finished) -> None:
    config, run, job = finished()
    merge(config, run)
    for name in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (_merged(run) / name).read_bytes() == (job.base / name).read_bytes()
    changed = load_file(_merged(run) / "unet/diffusion_pytorch_model.safetensors")
    before = load_file(job.base / "unet/diffusion_pytorch_model.safetensors")
    assert changed.keys() == before.keys()
    different = {name for name in before if not torch.equal(before[name], changed[name])}
    assert different and all(".to_" in name for name in different)


def test_a_wrong_merge_is_not_stored(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run, _ = finished()
    right = merged_weights.Change.merged
    monkeypatch.setattr(
        merged_weights.Change,
        "merged",
        lambda self, weight: right(replace(self, scale=2 * self.scale), weight),
    )
    with pytest.raises(RecipeError, match="rounding explains") as caught:
        merge(config, run)
    assert caught.value.reason == "RECIPE_FAILED"
    assert not run.artifacts


def test_a_pipeline_that_is_merged_with_nothing_is_nearer_to_its_base(finished: Finished) -> None:
    _, _, job = finished()
    with pytest.raises(RecipeError, match="not what base and LoRA are"):
        merge_proof.prove(
            StoredLora.read(job.artifacts),
            job.config,
            base=job.base,
            merged=job.base,
            dtype="float32",
            check=lambda: None,
        )


def test_another_base_is_refused(finished: Finished, tmp_path: Path) -> None:
    config, _, job = finished()
    other = finished_training(tmp_path / "other", "sdxl")
    run = FakeRun(root=tmp_path / "run2", base_model_files=other.base, source_files=job.artifacts)
    with pytest.raises(RecipeError, match="was trained on") as caught:
        merge(config, run)
    assert caught.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_a_base_that_is_gone_is_told(finished: Finished) -> None:
    config, run, _ = finished()
    with pytest.raises(RecipeError, match="no longer in the store"):
        merge(replace(config, base_is_there=False), run)


def test_a_changed_kind_of_prediction_is_written_into_the_scheduler(finished: Finished) -> None:
    config, run, job = finished()
    before = (job.base / "scheduler/scheduler_config.json").read_text()
    merge(replace(config, source=replace(config.source, prediction_type="v_prediction")), run)
    told = json.loads((_merged(run) / "scheduler/scheduler_config.json").read_text())
    assert told["prediction_type"] == "v_prediction"
    assert (job.base / "scheduler/scheduler_config.json").read_text() == before


def test_a_merge_stops_when_it_is_told_to(finished: Finished) -> None:
    config, run, _ = finished()
    run.request_stop(Stop.CANCEL)
    with pytest.raises(Stopped):
        merge(config, run)
