"""Adapters: where they are put, that they begin as nothing, and that the base stays reachable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny_diffusion import FAMILIES, Family
from tuneyard.diffusion.config import Lora
from tuneyard.diffusion.denoiser import Frame
from tuneyard.diffusion.loras import (
    TEXT_TARGETS,
    adapted_layers,
    add_loras,
    checkpoint_gradients,
    scale_loras,
    without_loras,
)
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.recipes.trained_weights import adapter_state, load_adapter_state
from tuneyard.trainer.errors import RecipeError

TinyPipelines = Callable[[Family], Path]
CPU = torch.device("cpu")


def network_of(folder: Path, *, dtype: torch.dtype = torch.float32) -> tuple[str, Any]:
    denoiser = load_denoiser(open_pipeline(folder), dtype=dtype, device=CPU)
    return denoiser.part, denoiser.network


def answer(network: nn.Module) -> Tensor:
    source = torch.Generator().manual_seed(0)
    noisy, hidden = torch.randn(1, 4, 8, 8, generator=source), torch.randn(1, 77, 32, generator=source)
    dtype = network.conv_in.weight.dtype
    with torch.no_grad():
        found = network(noisy.to(dtype), torch.tensor([500]), encoder_hidden_states=hidden.to(dtype))
    return found.sample.float()


def spoil(adapted: nn.Module) -> None:
    for name, value in adapter_state(adapted).items():
        if "lora_B" in name:
            nn.init.normal_(value, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_by_default_all_attention_projections_are_adapted(
    tiny_pipelines: TinyPipelines, family: Family
) -> None:
    part, network = network_of(tiny_pipelines(family))
    adapted = add_loras(part, network, {}, Lora(r=2))
    layers = {name.partition(".lora_")[0] for name in adapter_state(adapted)}
    expected = [
        name
        for name, each in network.named_modules()
        if isinstance(each, nn.Linear) and ".lora_" not in name and ".attn" in name
    ]
    bases = {f"{part}.{name.removesuffix('.base_layer')}" for name in expected}
    assert layers == bases


def test_all_linear_reaches_the_feed_forward_layers_but_not_the_time_embedding(
    tiny_pipelines: TinyPipelines,
) -> None:
    _, network = network_of(tiny_pipelines("sdxl"))
    layers = adapted_layers(network, ("all-linear",), usual=())
    assert any(".ff.net." in name for name in layers)
    assert any(name.endswith("proj_in") for name in layers)
    assert not any("time_emb" in name or "add_embedding" in name for name in layers)


def test_layers_that_the_network_does_not_have_are_named(tiny_pipelines: TinyPipelines) -> None:
    _, network = network_of(tiny_pipelines("sd"))
    with pytest.raises(RecipeError, match=r"no linear layer named q_proj. It has: .*to_q") as caught:
        adapted_layers(network, ("to_q", "q_proj"), usual=())
    assert caught.value.reason == "INVALID_FIELD"


def test_text_encoders_are_adapted_under_their_own_names(tiny_pipelines: TinyPipelines) -> None:
    pipeline = open_pipeline(tiny_pipelines("sdxl"))
    part, network = network_of(tiny_pipelines("sdxl"))
    text = load_text(pipeline, dtype=torch.float32, device=CPU)
    adapted = add_loras(part, network, text.modules, Lora(r=2))
    assert set(adapted) == {"unet", "text_encoder", "text_encoder_2"}
    encoder = text.modules["text_encoder"]
    names = {name.split(".")[-4] for name, value in encoder.named_parameters() if value.requires_grad}
    assert names == set(TEXT_TARGETS)


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"use_rslora": True}, {"alpha": 7.0}])
def test_a_fresh_adapter_changes_nothing(tiny_pipelines: TinyPipelines, settings: Any) -> None:
    part, network = network_of(tiny_pipelines("sd"))
    before = answer(network)
    add_loras(part, network, {}, Lora(r=2, **settings))
    torch.testing.assert_close(answer(network), before, atol=1e-5, rtol=1e-5)


def test_the_base_answers_as_before_and_the_adapter_again_after_it(tiny_pipelines: TinyPipelines) -> None:
    part, network = network_of(tiny_pipelines("sd"))
    before = answer(network)
    adapted = add_loras(part, network, {}, Lora(r=2))
    spoil(adapted)
    tuned = answer(network)
    with without_loras(adapted):
        assert torch.equal(answer(network), before)
    assert torch.equal(answer(network), tuned)
    assert not torch.allclose(tuned, before)
    assert adapter_state(adapted)


def test_a_scale_of_nothing_is_the_base(tiny_pipelines: TinyPipelines) -> None:
    part, network = network_of(tiny_pipelines("sd"))
    before = answer(network)
    spoil(add_loras(part, network, {}, Lora(r=2)))
    tuned = answer(network)
    scale_loras(network, 0.0)
    torch.testing.assert_close(answer(network), before)
    scale_loras(network, 1.0)
    assert torch.equal(answer(network), tuned)


def test_adapters_of_a_bf16_base_are_in_fp32(tiny_pipelines: TinyPipelines) -> None:
    part, network = network_of(tiny_pipelines("sd"), dtype=torch.bfloat16)
    adapted = add_loras(part, network, {}, Lora(r=2))
    assert {value.dtype for value in adapter_state(adapted).values()} == {torch.float32}
    assert network.conv_in.weight.dtype == torch.bfloat16
    assert torch.isfinite(answer(network)).all()


def test_what_was_trained_comes_back_from_its_state(tiny_pipelines: TinyPipelines) -> None:
    part, network = network_of(tiny_pipelines("sd"))
    adapted = add_loras(part, network, {}, Lora(r=2))
    spoil(adapted)
    state = {name: value.clone() for name, value in adapter_state(adapted).items()}
    other_part, other = network_of(tiny_pipelines("sd"))
    load_adapter_state(add_loras(other_part, other, {}, Lora(r=2)), state)
    assert torch.equal(answer(other), answer(network))


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_gradients_are_the_same(tiny_pipelines: TinyPipelines, family: Family) -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        pipeline = open_pipeline(tiny_pipelines(family))
        text = load_text(pipeline, dtype=torch.float32, device=CPU)
        denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
        encoders = {name: each for name, each in text.modules.items() if name != "text_encoder_3"}
        adapted = add_loras(denoiser.part, denoiser.network, encoders, Lora(r=2))
        if checkpointing:
            checkpoint_gradients(adapted)
        noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        frames = [Frame((64, 64), (0, 0), (64, 64))]
        denoiser.predict(noisy, torch.tensor([500]), text.encode(["a cat"]), frames).square().sum().backward()
        gradients.append([each.grad for each in adapted.parameters() if each.grad is not None])
    assert len(gradients[0]) > 10
    torch.testing.assert_close(gradients[0], gradients[1])


def test_no_input_of_a_half_precision_network_is_kept_in_fp32(tiny_pipelines: TinyPipelines) -> None:
    part, network = network_of(tiny_pipelines("sd"), dtype=torch.bfloat16)
    adapted = add_loras(part, network, {}, Lora(r=2))
    spoil(adapted)
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    noisy, hidden = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 32)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = network(noisy.bfloat16(), torch.tensor([500]), encoder_hidden_states=hidden.bfloat16()).sample
    found.float().square().mean().backward()
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert {weight.dtype for weight in trained.values()} == {torch.float32}
    # So tiny a network attends evenly: its queries and keys have no gradient in bf16.
    values = [weight for name, weight in trained.items() if "to_v" in name or "to_out" in name]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in values)
    # A text's keys and values are (tokens, width) inputs of adapters; statistics of norms are smaller.
    assert not [
        tensor.shape for tensor in kept if tensor.dtype is torch.float32 and tensor.numel() >= 64 * 16
    ]
