"""What adapted models keep for the backward pass: less than with peft alone, for the same gradients."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear8bitLt
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from tests.support.tiny_llm import ARCHITECTURES, tiny_model
from tuneyard.llm import adapters, kept
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.recipes.trained_weights import trained_parameters

CPU = torch.device("cpu")
IDS = torch.arange(40, 104).view(2, 32)
Build = Callable[..., tuple[nn.Module, nn.Module]]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Build:
    """The same adapted model twice: as it is trained here, and as peft makes it."""

    def built(folder: Path, *, precision: Any = "bf16", bits: Any = None, **lora: Any) -> Any:
        settings: dict[str, Any] = {"dropout": 0.0, "target_modules": ("all-linear",)} | lora
        config = LanguageModelConfig(
            base_model="tiny",
            method="qlora" if bits else "lora",
            precision=precision,
            lora=Lora(**settings),
            quantization=bits,
        )

        def model() -> nn.Module:
            torch.manual_seed(0)
            made = add_adapter(load_base(folder, config, device=CPU, precision=precision), config)
            for parameter in trained_parameters(made):
                nn.init.normal_(parameter, std=0.1)
            return made

        ours = model()
        with monkeypatch.context() as patched:
            patched.setattr(adapters, "keep_little", lambda _: None)
            return ours, model()

    return built


def gradients(model: Any) -> tuple[list[Tensor], int]:
    """The adapter's gradients, and the bytes that were kept for them beside the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    torch.manual_seed(1)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(input_ids=IDS, use_cache=False).logits
    functional.cross_entropy(logits.float().flatten(0, 1), IDS.flatten()).backward()
    found = [parameter.grad for parameter in trained_parameters(model) if parameter.grad is not None]
    return found, sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_gradients_are_those_of_peft(tmp_path: Path, both: Build, architecture: Any, precision: Any) -> None:
    ours, theirs = both(tiny_model(tmp_path / "model", architecture), precision=precision)
    (found, kept_bytes), (expected, more_bytes) = gradients(ours), gradients(theirs)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert kept_bytes <= more_bytes


def test_a_llama_in_bf16_keeps_a_third_less(tmp_path: Path, both: Build) -> None:
    folder = tiny_model(tmp_path / "model", hidden=64, intermediate=256, vocab=512)
    (_, few), (_, many) = (gradients(model) for model in both(folder, target_modules=()))
    (_, fewer), (_, more) = (gradients(model) for model in both(folder))
    logits_bytes = IDS.numel() * 512 * 4
    assert few - logits_bytes < 0.67 * (many - logits_bytes)
    assert fewer - logits_bytes < 0.6 * (more - logits_bytes)


def test_gradients_on_a_quantised_base_are_those_of_peft(tmp_path: Path, both: Build) -> None:
    ours, theirs = both(tiny_model(tmp_path / "model"), bits=Quantization())
    for one, other in zip(gradients(ours)[0], gradients(theirs)[0], strict=True):
        assert torch.equal(one, other)


def test_dora_s_adapters_are_left_to_peft(tmp_path: Path, both: Build) -> None:
    ours, theirs = both(tiny_model(tmp_path / "model"), use_dora=True)
    for one, other in zip(gradients(ours)[0], gradients(theirs)[0], strict=True):
        assert torch.equal(one, other)


def test_dropout_drops_the_same_in_both_passes_and_only_in_training(tmp_path: Path, both: Build) -> None:
    ours, _ = both(tiny_model(tmp_path / "model"), dropout=0.5)
    factor = next(module for module in ours.modules() if isinstance(module, kept._FirstFactor))
    given = torch.ones(1, 200, factor.in_features, dtype=torch.bfloat16, requires_grad=True)
    factor(given).sum().backward()
    assert given.grad is not None and factor.weight.grad is not None
    # Each input counts twice or not at all; so many are kept as the weight's gradient says.
    column = factor.weight.float().sum(0).detach()
    times = (given.grad[0].float() / column).round().detach()
    assert set(times.unique().tolist()) == {0.0, 2.0}
    assert torch.allclose(factor.weight.grad[0], times.sum(0))
    factor.eval()
    assert torch.equal(factor(given), functional.linear(given.float(), factor.weight))


def test_autocast_computes_as_it_does_without(tmp_path: Path, both: Build) -> None:
    ours, theirs = both(tiny_model(tmp_path / "model"), precision="fp32")
    with torch.autocast("cpu", torch.bfloat16):
        for one, other in zip(gradients(ours)[0], gradients(theirs)[0], strict=True):
            assert torch.equal(one, other)


def test_a_module_with_the_same_parts_and_another_product_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj, self.up_proj = nn.Linear(4, 8), nn.Linear(4, 8)
            self.down_proj, self.act_fn = nn.Linear(8, 4), nn.SiLU()

        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = 2 * self.down_proj(self.act_fn(self.gate_proj(given)) * self.up_proj(given))
            return found

    module = Twice().requires_grad_(False)
    given = torch.ones(1, 4)
    before = module(given)
    kept.keep_little(module)
    assert torch.equal(module(given), before)


def test_an_8_bit_layer_keeps_no_input_and_gives_the_same_gradients(tmp_path: Path, both: Build) -> None:
    settings: dict[str, Any] = {"bits": Quantization(bits=8), "target_modules": ("q_proj",)}
    ours, theirs = both(tiny_model(tmp_path / "model", "llama"), **settings)
    alive, found = {}, {}
    for whose, model in (("ours", ours), ("theirs", theirs)):
        inputs: list[weakref.ref[Tensor]] = []

        def note(_: nn.Module, given: Any, inputs: list[weakref.ref[Tensor]] = inputs) -> None:
            inputs.append(weakref.ref(given[0]))

        for name, layer in model.named_modules():
            if isinstance(layer, Linear8bitLt) and name.endswith("down_proj"):
                layer.register_forward_pre_hook(note)
        logits = model(input_ids=IDS, use_cache=False).logits
        alive[whose] = [each() is not None for each in inputs]
        functional.cross_entropy(logits.float().flatten(0, 1), IDS.flatten()).backward()
        found[whose] = [parameter.grad for parameter in trained_parameters(model)]
    assert (any(alive["ours"]), all(alive["theirs"])) == (False, True)
    for one, other in zip(found["ours"], found["theirs"], strict=True):
        assert one is not None and other is not None and torch.equal(one, other)
