"""Pipelines on disk: parts by themselves, what diffusers makes of them, and what caches know them by."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_diffusion import FAMILIES, Family, tiny_sd
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.pipeline import latent_scale, open_pipeline

TinyPipelines = Callable[[Family], Path]
CPU = torch.device("cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_assembled_pipeline_draws_what_diffusers_draws(
    tiny_pipelines: TinyPipelines, family: Family
) -> None:
    from diffusers import DiffusionPipeline

    pipeline = open_pipeline(tiny_pipelines(family))
    denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
    text = load_text(pipeline, dtype=torch.float32, device=CPU)
    parts = {**text.modules, denoiser.part: denoiser.network, "vae": pipeline.load_vae(device=CPU)}
    expected: Any = DiffusionPipeline.from_pretrained(tiny_pipelines(family), local_files_only=True)
    expected.set_progress_bar_config(disable=True)
    assert torch.equal(drawn(pipeline.assemble(parts)), drawn(expected))


def drawn(pipeline: Any) -> torch.Tensor:
    source = torch.Generator().manual_seed(3)
    found: torch.Tensor = pipeline(
        "a red cat", num_inference_steps=2, height=64, width=64, generator=source, output_type="pt"
    ).images
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_may_be_given_as_embeddings_alone(tiny_pipelines: TinyPipelines, family: Family) -> None:
    pipeline = open_pipeline(tiny_pipelines(family))
    denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
    with torch.no_grad():
        prompt, empty = (
            load_text(pipeline, dtype=torch.float32, device=CPU).encode([each]) for each in ("a cat", "")
        )
    parts = {denoiser.part: denoiser.network, "vae": pipeline.load_vae(device=CPU)}
    given = {"prompt_embeds": prompt.hidden, "negative_prompt_embeds": empty.hidden}
    if prompt.pooled is not None:
        given |= {"pooled_prompt_embeds": prompt.pooled, "negative_pooled_prompt_embeds": empty.pooled}
    images = pipeline.assemble(parts)(
        **given, num_inference_steps=1, height=64, width=64, output_type="np"
    ).images
    assert images.shape == (1, 64, 64, 3)


def test_the_vae_is_in_fp32_whatever_it_is_stored_in(tmp_path: Path) -> None:
    pipeline = open_pipeline(tiny_sd(tmp_path / "half", dtype=torch.float16))
    vae = pipeline.load_vae(device=CPU)
    assert {value.dtype for value in vae.parameters()} == {torch.float32}
    assert latent_scale(vae) == 8


def test_what_is_loaded_is_frozen_and_in_the_format_that_was_asked_for(tiny_pipelines: TinyPipelines) -> None:
    pipeline = open_pipeline(tiny_pipelines("sdxl"))
    network = pipeline.load_network(dtype=torch.bfloat16, device=CPU)
    assert {value.dtype for value in network.parameters()} == {torch.bfloat16}
    assert not any(value.requires_grad for value in network.parameters())
    assert not network.training


def test_a_hash_is_of_the_part_alone(tiny_pipelines: TinyPipelines, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_pipelines("sd"), tmp_path / "copy"))
    before, after = open_pipeline(tiny_pipelines("sd")), open_pipeline(copy)
    (copy / "unet" / "config.json").write_text((copy / "unet" / "config.json").read_text() + "\n")
    assert before.sha256("vae") == after.sha256("vae")
    assert before.sha256("unet") != after.sha256("unet")
