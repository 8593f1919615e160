"""Which pipelines are taken, and that none is taken that brings code or pickles."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_diffusion import FAMILIES, Family
from tuneyard.diffusion.safe_pipeline import check_index, check_pipeline
from tuneyard.trainer.errors import RecipeError

TinyPipelines = Callable[[Family], Path]


def index_of(folder: Path, **changes: Any) -> dict[str, Any]:
    return {**json.loads((folder / "model_index.json").read_text()), **changes}


@pytest.fixture
def changeable(tiny_pipelines: TinyPipelines, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipelines("sd"), tmp_path / "changeable"))


@pytest.mark.parametrize("family", FAMILIES)
def test_usual_pipelines_are_known_by_kind(tiny_pipelines: TinyPipelines, family: Family) -> None:
    index = check_pipeline(tiny_pipelines(family))
    assert index.kind == family
    assert index.network in index.weighty


@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_that_is_written_is_taken_again(tiny_pipelines: TinyPipelines, family: Family) -> None:
    index = check_pipeline(tiny_pipelines(family))
    assert check_index(index.to_json()) == index


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ({"_class_name": ["my_pipeline", "MyPipeline"]}, "one of its own"),
        ({"unet": ["my_unet", "UNet2DConditionModel"]}, "my_unet"),
        ({"unet": ["diffusers", "UNetMotionModel"]}, "UNetMotionModel"),
        ({"vae": ["diffusers_modules.local.x", "AutoencoderKL"]}, "diffusers_modules"),
        ({"vae": [None, None]}, "no vae"),
        ({"scheduler": ["diffusers", "LCMScheduler"]}, "LCMScheduler"),
        ({"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "FlowMatch"),
        ({"auto_map": {"UNet": "x.Y"}}, "remote code"),
        ({"trust_remote_code": True}, "remote code"),
        ({"extra": ["my_module", "Thing"]}, "my_module"),
    ],
)
def test_what_is_not_the_libraries_own_is_refused(
    tiny_pipelines: TinyPipelines, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        check_index(index_of(tiny_pipelines("sd"), **changes))


def test_a_safety_checker_is_left_out(tiny_pipelines: TinyPipelines) -> None:
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index = check_index(index_of(tiny_pipelines("sd"), safety_checker=checker))
    assert "safety_checker" not in index.parts
    assert index.to_json()["safety_checker"] == [None, None]


@pytest.mark.parametrize("part", ["unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_config_of_a_part_that_asks_for_code_is_refused(changeable: Path, part: str) -> None:
    path = next(path for path in sorted((changeable / part).glob("*config.json")))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(RecipeError, match=f"{part}/{path.name}") as caught:
        check_pipeline(changeable)
    assert caught.value.reason == "NOT_SUPPORTED"


def test_pickled_weights_are_refused_by_name(changeable: Path) -> None:
    weights = changeable / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(RecipeError, match=r"pickled \(unet/diffusion_pytorch_model.bin\)"):
        check_pipeline(changeable)


def test_a_folder_that_is_no_pipeline_says_what_to_import(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model_index\.json") as caught:
        check_pipeline(tmp_path)
    assert caught.value.reason == "BASE_MODEL_UNAVAILABLE"
