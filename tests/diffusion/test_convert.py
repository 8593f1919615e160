"""Imports: folders, checkpoints in one file, and what is wrong with others."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.single_checkpoint import write_checkpoint
from tests.support.tiny_diffusion import FAMILIES, Family, tiny_sd
from tuneyard.diffusion import hub, meta_facts
from tuneyard.diffusion.convert import convert
from tuneyard.diffusion.known_facts import SD_1_5
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.pipeline_files import pipeline_files
from tuneyard.diffusion.safe_pipeline import check_pipeline
from tuneyard.trainer import hub_files
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError

TinyPipelines = Callable[[Family], Path]
Import = Callable[[Path], Converted]
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Converts a folder into tmp_path / "result", without a network, and without counting what it needs."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(meta_facts, "facts_of", lambda folder: SD_1_5)

    def converted(source: Path) -> Converted:
        result = tmp_path / "result"
        result.mkdir()
        return convert(ModelFiles(source=source, result=result))

    return converted


@pytest.fixture
def changeable(tiny_pipelines: TinyPipelines, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipelines("sd"), tmp_path / "changeable"))


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_diffusers_is_taken_as_it_is(
    tiny_pipelines: TinyPipelines, tmp_path: Path, family: Family
) -> None:
    (tmp_path / "result").mkdir()
    converted = convert(ModelFiles(source=tiny_pipelines(family), result=tmp_path / "result"))
    facts = PipelineFacts.from_json(converted.facts)
    assert (facts.kind, facts.resolution, facts.latent_channels) == (family, 64, 4)
    assert converted.tasks == ("text_to_image_lora",)
    assert files_of(tmp_path / "result") == files_of(tiny_pipelines(family))


def test_plain_diffusers_loads_what_was_imported(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path
) -> None:
    from diffusers import DiffusionPipeline

    imported(tiny_pipelines("sdxl"))
    pipeline: Any = DiffusionPipeline.from_pretrained(tmp_path / "result", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a cat", num_inference_steps=1, height=64, width=64, output_type="np").images
    assert drawn.shape == (1, 64, 64, 3)


def test_code_and_strangers_files_stay_outside(changeable: Path, imported: Import, tmp_path: Path) -> None:
    before = files_of(changeable)
    (changeable / "unet" / "my_unet.py").write_text("code")
    (changeable / "pipeline.py").write_text("code")
    (changeable / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    imported(changeable)
    assert files_of(tmp_path / "result") == before


def test_a_folder_within_a_folder_is_found(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path
) -> None:
    shutil.copytree(tiny_pipelines("sd"), tmp_path / "zip" / "my-model")
    assert imported(tmp_path / "zip").architecture == "StableDiffusionPipeline"


def test_half_precision_variants_are_stored_by_the_usual_names(
    changeable: Path, imported: Import, tmp_path: Path
) -> None:
    (changeable / UNET).rename(changeable / UNET.replace(".safetensors", ".fp16.safetensors"))
    imported(changeable)
    assert (tmp_path / "result" / UNET).is_file()


def test_shards_of_variants_are_taken_with_their_index(tiny_pipelines: TinyPipelines) -> None:
    index = check_pipeline(tiny_pipelines("sdxl"))
    there = {
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00003.safetensors",
    }
    assert set(pipeline_files(there, index).values()) == {
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    }


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_checkpoint_in_one_file_becomes_the_pipeline_that_it_was_made_of(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path, family: Family
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_pipelines(family), source, ignore=shutil.ignore_patterns("*.safetensors"))
    write_checkpoint(tiny_pipelines(family), source / "model.safetensors")
    imported(source)
    for weights in tiny_pipelines(family).glob("*/*.safetensors"):
        name = weights.relative_to(tiny_pipelines(family))
        expected, found = load_file(weights), load_file(tmp_path / "result" / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_mark_in_a_checkpoint_tells_what_it_predicts(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_pipelines("sdxl"), source, ignore=shutil.ignore_patterns("*.safetensors"))
    write_checkpoint(tiny_pipelines("sdxl"), source / "model.safetensors", marks=("v_pred", "ztsnr"))
    imported(source)
    scheduler = open_pipeline(tmp_path / "result").config("scheduler")
    assert (scheduler["prediction_type"], scheduler["rescale_betas_zero_snr"]) == ("v_prediction", True)


def test_the_configs_of_a_lone_checkpoint_come_from_where_its_kind_was_published(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(hub_id: str, folder: Path, *, revision: str) -> None:
        asked.append((hub_id, bool(revision)))
        ignored = shutil.ignore_patterns("*.safetensors")
        shutil.copytree(tiny_pipelines("sd"), folder, ignore=ignored, dirs_exist_ok=True)

    monkeypatch.setattr(hub, "fetch_configs", fetched)
    (tmp_path / "source").mkdir()
    write_checkpoint(tiny_pipelines("sd"), tmp_path / "source" / "model.safetensors")
    assert imported(tmp_path / "source").architecture == "StableDiffusionPipeline"
    assert asked == [("stable-diffusion-v1-5/stable-diffusion-v1-5", True)]


def test_without_the_hub_a_lone_checkpoint_says_what_to_put_beside_it(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(hub_id: str, *_: Any, **__: Any) -> str:
        raise hub_files.unavailable(hub_id, "this trainer is set to work offline")

    monkeypatch.setattr(hub_files, "fetch", unavailable)
    (tmp_path / "source").mkdir()
    write_checkpoint(tiny_pipelines("sd"), tmp_path / "source" / "model.safetensors")
    with pytest.raises(RecipeError, match="offline") as caught:
        imported(tmp_path / "source")
    assert "beside the checkpoint" in caught.value.remedies[0]


def test_a_checkpoint_of_another_shape_than_its_configs_is_refused(
    tiny_pipelines: TinyPipelines, imported: Import, tmp_path: Path
) -> None:
    wider, source = tiny_sd(tmp_path / "wider", width=32), tmp_path / "source"
    shutil.copytree(tiny_pipelines("sd"), source, ignore=shutil.ignore_patterns("*.safetensors"))
    write_checkpoint(wider, source / "model.safetensors")
    with pytest.raises(RecipeError, match="does not fit"):
        imported(source)


def test_loras_and_inpainting_models_are_no_base(imported: Import, tmp_path: Path) -> None:
    for number, (name, told) in enumerate(
        [
            ("lora_unet_x.lora_down.weight", "LoRA"),
            ("model.diffusion_model.input_blocks.0.0.weight", "inpaint"),
        ]
    ):
        source = tmp_path / str(number)
        source.mkdir()
        save_file({name: torch.zeros(8, 9, 3, 3)}, source / "model.safetensors")
        with pytest.raises(RecipeError, match=told):
            imported(source)
        shutil.rmtree(tmp_path / "result")


@pytest.mark.parametrize("name", ["model.ckpt", "unet/model.bin", "v1-5.pt"])
def test_pickled_checkpoints_are_refused_unread(imported: Import, tmp_path: Path, name: str) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(RecipeError, match="pickled") as caught:
        imported(tmp_path / "source")
    assert "safetensors" in caught.value.remedies[0]


def test_missing_weights_are_named(changeable: Path, imported: Import) -> None:
    weights = load_file(changeable / UNET)
    del weights["conv_in.weight"]
    (changeable / UNET).unlink()
    save_file(weights, changeable / UNET)
    with pytest.raises(RecipeError, match=r"unet lacks weights: conv_in.weight"):
        imported(changeable)


def test_weights_that_are_no_numbers_are_refused(changeable: Path, imported: Import) -> None:
    weights = load_file(changeable / UNET)
    weights["conv_in.weight"] = torch.full_like(weights["conv_in.weight"], float("nan"))
    (changeable / UNET).unlink()
    save_file(weights, changeable / UNET)
    with pytest.raises(RecipeError, match="not finite"):
        imported(changeable)


def test_damaged_weights_are_refused(changeable: Path, imported: Import) -> None:
    content = (changeable / UNET).read_bytes()
    (changeable / UNET).unlink()
    (changeable / UNET).write_bytes(content[: len(content) // 2])
    with pytest.raises(RecipeError, match="unet cannot be loaded"):
        imported(changeable)


def test_a_tokenizer_with_more_tokens_than_the_encoder_is_refused(changeable: Path, imported: Import) -> None:
    path = changeable / "tokenizer" / "vocab.json"
    vocab = json.loads(path.read_text())
    path.write_text(json.dumps({**vocab, "unheard": len(vocab)}))
    with pytest.raises(RecipeError, match="do not belong together"):
        imported(changeable)


def test_files_that_are_no_model_say_what_to_import(imported: Import, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "readme.txt").write_text("nothing")
    with pytest.raises(RecipeError, match="no text-to-image model"):
        imported(tmp_path / "source")
