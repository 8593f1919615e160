"""On the processor a UNet computes few keys plainly: the same answers and gradients, and fused for many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.tiny_diffusion import Family
from tuneyard.diffusion.attention import MOST_KEYS
from tuneyard.diffusion.models import load_denoiser
from tuneyard.diffusion.pipeline import open_pipeline

TinyPipelines = Callable[[Family], Path]
CPU = torch.device("cpu")
SIDE = 64
"""Of the latents: the image's own keys are more than the bound, the 77 of the text fewer."""


def gradient(network: Any) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, SIDE, SIDE, generator=source).requires_grad_()
    hidden = torch.randn(1, 77, 32, generator=source)
    answer = network(noisy, torch.tensor([500]), encoder_hidden_states=hidden).sample
    answer.square().mean().backward()
    assert noisy.grad is not None
    return answer.detach(), noisy.grad


def test_answers_and_gradients_are_those_of_the_fused_kernel(
    tiny_pipelines: TinyPipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_pipeline(tiny_pipelines("sd"))
    fused = gradient(pipeline.load_network(dtype=torch.float32, device=CPU))

    keys = []
    kernel = functional.scaled_dot_product_attention

    def noted(query: Tensor, key: Tensor, *rest: Any, **settings: Any) -> Tensor:
        keys.append(key.shape[-2])
        return kernel(query, key, *rest, **settings)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", noted)
    chosen = gradient(load_denoiser(pipeline, dtype=torch.float32, device=CPU).network)
    torch.testing.assert_close(chosen, fused, rtol=1e-4, atol=1e-6)
    assert keys and min(keys) > MOST_KEYS


def test_a_transformer_keeps_its_own_attention(tiny_pipelines: TinyPipelines) -> None:
    pipeline = open_pipeline(tiny_pipelines("sd3"))
    own: Any = pipeline.load_network(dtype=torch.float32, device=CPU)
    loaded: Any = load_denoiser(pipeline, dtype=torch.float32, device=CPU).network
    kinds = {type(each) for each in loaded.attn_processors.values()}
    assert kinds == {type(each) for each in own.attn_processors.values()}
