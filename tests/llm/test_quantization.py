"""A base in 4 or 8 bits: as small as it should be, and trained with the right gradients on the processor."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from torch import Tensor, nn

from tests.support.tiny_llm import tiny_model
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base, load_model
from tuneyard.llm.config import LanguageModelConfig, Quantization
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.quantization import weight_bytes
from tuneyard.llm.rows import Rows, Sample, micro_batches, pack
from tuneyard.recipes.trained_weights import trained_parameters

Configure = Callable[..., LanguageModelConfig]
CPU = torch.device("cpu")
KINDS = [
    Quantization(),
    Quantization(nested=True),
    Quantization(quant_type="fp4"),
    Quantization(compute_dtype="float32"),
    Quantization(compute_dtype="float16"),
    Quantization(bits=8),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mostly linear layers, as real models are: a small vocabulary beside wide layers."""
    folder = tmp_path_factory.mktemp("wide")
    return tiny_model(folder, vocab=300, hidden=256, intermediate=1024, dtype=torch.bfloat16)


def batch() -> Rows:
    generator = np.random.default_rng(0)
    samples = [
        Sample(generator.integers(0, 300, length).astype(np.int32), np.arange(length) > 2)
        for length in (40, 33, 17)
    ]
    (rows,) = micro_batches(pack(samples, max_length=128, packing=True, pad_token=0), 1, pad_token=0)
    return rows


def adapted(base: Path, config: LanguageModelConfig) -> nn.Module:
    model = add_adapter(load_base(base, config, device=CPU, precision="bf16"), config)
    torch.manual_seed(2)
    for name, value in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.02)
    return model


def gradient(model: nn.Module) -> tuple[float, Tensor]:
    loss = loss_sums(model, batch(), precision="bf16", device=CPU).loss
    found = torch.autograd.grad(loss, trained_parameters(model))
    return loss.item(), torch.cat([each.flatten() for each in found])


def dequantised(model: nn.Module) -> nn.Module:
    """The same weights as plain linear layers of their rounded values, where peft looks for them."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear4bit) and name.endswith("base_layer") is False and "lora" not in name:
            plain = nn.Linear(module.in_features, module.out_features, bias=False, dtype=torch.bfloat16)
            plain.weight = nn.Parameter(
                dequantize_4bit(module.weight.data, module.weight.quant_state).to(torch.bfloat16),
                requires_grad=False,
            )
            model.set_submodule(name, plain)
    return model


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_base_trains(base: Path, configure: Configure, kind: Quantization) -> None:
    model = adapted(base, configure("qlora", quantization=kind))
    optimizer = torch.optim.AdamW(trained_parameters(model), lr=0.01)
    losses = []
    for _ in range(8):
        loss = loss_sums(model, batch(), precision="bf16", device=CPU).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("evaluated_before", [False, True])
def test_gradients_are_those_of_the_dequantised_base(
    base: Path, configure: Configure, evaluated_before: bool
) -> None:
    config = configure("qlora")
    model = adapted(base, config)
    if evaluated_before:
        # Where bitsandbytes may, it repacks the weights here for the processor, and never back.
        with torch.no_grad():
            loss_sums(model.eval(), batch(), precision="bf16", device=CPU)
    loss, ours = gradient(model.train())
    plain = dequantised(load_base(base, config, device=CPU, precision="bf16"))
    twin = add_adapter(plain, config)
    torch.manual_seed(2)
    for name, value in twin.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.02)
    expected_loss, expected = gradient(twin)
    assert loss == pytest.approx(expected_loss, rel=1e-3)
    assert torch.cosine_similarity(ours, expected, dim=0) > 0.995


def test_weights_may_not_be_repacked(base: Path, configure: Configure) -> None:
    model = load_base(base, configure("qlora"), device=CPU, precision="bf16")
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.mark.parametrize(("nested", "limit"), [(False, 0.35), (True, 0.34)])
def test_the_base_is_about_a_third_of_its_size_in_bf16(
    base: Path, configure: Configure, nested: bool, limit: float
) -> None:
    config = configure("qlora", quantization=Quantization(nested=nested))
    small = weight_bytes(load_base(base, config, device=CPU, precision="bf16"))
    assert small <= limit * weight_bytes(load_model(base, device=CPU, dtype=torch.bfloat16))


def test_checkpointing_changes_no_gradient(base: Path, configure: Configure) -> None:
    config = configure("qlora")
    config = replace(config, lora=replace(config.lora, dropout=0.0))
    plain, checkpointed = (
        gradient(adapted(base, replace(config, gradient_checkpointing=checkpointing)))
        for checkpointing in (False, True)
    )
    torch.testing.assert_close(checkpointed[1], plain[1])


def test_the_loss_scores_equally_in_training_and_evaluation(base: Path, configure: Configure) -> None:
    config: Any = configure("qlora")
    model = adapted(base, replace(config, lora=replace(config.lora, dropout=0.0)))
    trained = loss_sums(model, batch(), precision="bf16", device=CPU).loss.item()
    with torch.no_grad():
        scored = loss_sums(model.eval(), batch(), precision="bf16", device=CPU).loss.item()
    assert scored == pytest.approx(trained, rel=1e-6)
