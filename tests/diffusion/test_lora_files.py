"""LoRA weights in both formats: what plain diffusers makes of them, and what comes back."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from peft import LoraConfig
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.tiny_diffusion import FAMILIES, tiny_pipeline
from tuneyard.diffusion.kohya_names import KohyaNames
from tuneyard.diffusion.lora_files import (
    from_kohya,
    lora_part,
    read_diffusers,
    save_diffusers,
    to_kohya,
)
from tuneyard.diffusion.lora_files import save_kohya as save_kohya_file

PIPELINES = {
    "sd": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "sd3": diffusers.StableDiffusion3Pipeline,
}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: tiny_pipeline(root / family, family) for family in FAMILIES}


@pytest.fixture
def load(bases):
    def loaded(family: str) -> Any:
        return PIPELINES[family].from_pretrained(bases[family])

    return loaded


def main_part(pipe: Any) -> str:
    return "transformer" if hasattr(pipe, "transformer") else "unet"


def adapted(pipe: Any, **settings: Any) -> dict[str, Any]:
    """Random adapters on the network and the CLIP text encoders; the parts by name."""
    torch.manual_seed(7)
    targets = {main_part(pipe): ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "out_proj"]}
    if getattr(pipe, "text_encoder_2", None) is not None:
        targets["text_encoder_2"] = ["q_proj", "out_proj"]
    for name, modules in targets.items():
        model = getattr(pipe, name)
        model.add_adapter(LoraConfig(r=4, lora_alpha=6, target_modules=modules, **settings))
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(parameter, std=0.1)
    return {name: lora_part(getattr(pipe, name)) for name in targets}


@torch.no_grad()
def picture(pipe: Any) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        "a red circle",
        num_inference_steps=2,
        height=32,
        width=32,
        output_type="latent",
        generator=torch.Generator().manual_seed(1),
    )
    return made.images


def save_kohya(parts: Any, path: Path, *, family: str = "sd", **metadata: str) -> Path:
    return save_kohya_file(parts, path, names_of(family), metadata=metadata)


def names_of(family: Any) -> KohyaNames:
    return KohyaNames(kind=family, layers_per_block=1)


def layers_of(pipe: Any) -> dict[str, list[str]]:
    parts = (main_part(pipe), "text_encoder", "text_encoder_2")
    return {
        part: [name for name, _ in getattr(pipe, part).named_modules()]
        for part in parts
        if getattr(pipe, part, None) is not None
    }


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=["lora", "rslora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_diffusers_loads_the_weights_as_they_were(load, tmp_path, family, settings) -> None:
    trained, plain = load(family), load(family)
    before = picture(plain)
    parts = adapted(trained, **settings)
    save_diffusers(parts, tmp_path)
    plain.load_lora_weights(tmp_path)
    assert torch.equal(picture(plain), picture(trained))
    assert not torch.equal(picture(plain), before)


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=["lora", "rslora"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_plain_diffusers_loads_kohyas_format_too(load, tmp_path, family, settings) -> None:
    trained, plain = load(family), load(family)
    save_kohya(adapted(trained, **settings), tmp_path / "style.safetensors", family=family)
    plain.load_lora_weights(tmp_path, weight_name="style.safetensors")
    assert torch.allclose(picture(plain), picture(trained), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_formats_give_the_numbers_back(load, tmp_path, family) -> None:
    pipe = load(family)
    layers = layers_of(pipe)
    parts = adapted(pipe, use_dora=True)
    stored = read_diffusers(save_diffusers(parts, tmp_path))
    kohya = from_kohya(
        load_file(save_kohya(parts, tmp_path / "k.safetensors", family=family)), names_of(family), layers
    )
    for name, part in parts.items():
        found = {key.removeprefix("text_model."): value for key, value in stored[name].weights.items()}
        assert kohya[name].alpha == part.alpha and stored[name].settings == part.settings
        for key, value in part.weights.items():
            assert torch.equal(found[key.removeprefix("text_model.")], value)
            assert torch.equal(kohya[name].weights[key], value)


def test_a_root_stabilised_scale_is_told_as_an_alpha(load) -> None:
    tensors = to_kohya(adapted(load("sd"), use_rslora=True), names_of("sd"))
    alphas = {value.item() for name, value in tensors.items() if name.endswith(".alpha")}
    assert alphas == {6 * 4**0.5}


def test_kohyas_header_tells_what_it_is_given_and_a_hash_that_it_does_not_change(load, tmp_path) -> None:
    parts = adapted(load("sd"))
    headers = []
    for title in ("one", "another"):
        path = save_kohya(parts, tmp_path / f"{title}.safetensors", **{"modelspec.title": title})
        with safe_open(path, framework="pt") as file:
            headers.append(file.metadata())
    assert [header["modelspec.title"] for header in headers] == ["one", "another"]
    assert headers[0]["sshs_model_hash"] == headers[1]["sshs_model_hash"]
    assert (headers[0]["ss_network_dim"], headers[0]["ss_network_alpha"]) == ("4", "6")


def test_settings_that_are_peft_s_defaults_are_left_out(load, tmp_path) -> None:
    path = save_diffusers(adapted(load("sd")), tmp_path, metadata={"base_model": "models/tiny"})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    told = json.loads(header["lora_adapter_metadata"])
    assert {name for name in told if name.startswith("unet.")} == {
        "unet.r",
        "unet.lora_alpha",
        "unet.target_modules",
    }
    assert header["base_model"] == "models/tiny"


def test_weights_of_something_else_are_refused(tmp_path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.ones(2, 2)}, path)
    with pytest.raises(ValueError, match="no LoRA weights"):
        read_diffusers(path)
    with pytest.raises(ValueError, match="no layer"):
        from_kohya(
            {"lora_unet_nowhere.lora_down.weight": torch.ones(2, 2)}, names_of("sd"), {"unet": ["conv_in"]}
        )
