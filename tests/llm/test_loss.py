"""The loss of rows: equal to that of full logits, packed or not, for every architecture and method."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.tiny_llm import ARCHITECTURES, WITHOUT_FUSED_ATTENTION, tiny_model
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.config import LanguageModelConfig, Lora, MethodName
from tuneyard.llm.decoder import decoder_of
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.rows import IGNORED, Rows, Sample, micro_batches, pack
from tuneyard.recipes.trained_weights import trained_parameters

CPU = torch.device("cpu")
FULL = LanguageModelConfig(base_model="tiny", method="full", precision="fp32")
LORA = LanguageModelConfig(base_model="tiny", method="lora", precision="fp32", lora=Lora(r=4, dropout=0.0))


def samples(count: int = 6, vocab: int = 1024) -> list[Sample]:
    generator = np.random.default_rng(3)
    lengths = generator.integers(5, 60, count)
    return [
        Sample(
            generator.integers(0, vocab, length).astype(np.int32),
            np.concatenate([[False], generator.random(length - 1) < 0.6]),
        )
        for length in lengths
    ]


def rows(*, packing: bool) -> list[Rows]:
    single = pack(samples(), max_length=128, packing=packing, pad_token=0)
    return micro_batches(single, 2, pad_token=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def folder(architecture: Any) -> Path:
        if architecture not in made:
            made[architecture] = tiny_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return folder


def built(folder: Path, config: LanguageModelConfig) -> nn.Module:
    """A model whose adapter, where it has one, does something already; without dropout."""
    model = load_base(folder, config, device=CPU, precision="fp32")
    if config.method == "full":
        return model.eval()
    adapted = add_adapter(model, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(value, std=0.05)
    return adapted.eval()


def loss_of(model: nn.Module, batches: list[Rows], method: MethodName) -> Tensor:
    sums = [
        loss_sums(model, each, precision="fp32", device=CPU, method=method, chunk_tokens=7)
        for each in batches
    ]
    return torch.stack([each.loss for each in sums]).sum()


def plain_loss(model: nn.Module, batches: list[Rows]) -> Tensor:
    """By the model's own logits, one row for each sample."""
    whole = decoder_of(model).whole
    return torch.stack(
        [
            functional.cross_entropy(
                whole(input_ids=torch.from_numpy(each.ids), use_cache=False).logits.flatten(0, 1),
                torch.from_numpy(each.targets).flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            )
            for each in batches
        ]
    ).sum()


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, trained_parameters(model)))


@pytest.mark.parametrize("config", [FULL, LORA], ids=lambda config: config.method)
@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *WITHOUT_FUSED_ATTENTION))
def test_packed_and_unpacked_rows_have_the_loss_and_gradients_of_full_logits(
    folders: Any, architecture: str, config: LanguageModelConfig
) -> None:
    model = built(folders(architecture), config)
    assert decoder_of(model).head is not None
    expected = plain_loss(model, rows(packing=False))
    wanted = gradients(model, expected)
    for packing in (True, False):
        loss = loss_of(model, rows(packing=packing), config.method)
        torch.testing.assert_close(loss, expected, rtol=2e-6, atol=0)
        for ours, plain in zip(gradients(model, loss), wanted, strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=2e-6 * float(plain.abs().max()) + 1e-7)


def test_tied_embeddings_get_the_gradient_of_both_uses(tmp_path: Path) -> None:
    model = built(tiny_model(tmp_path, "qwen2", tied=True), FULL)
    batches = rows(packing=True)
    (ours, *_), (plain, *_) = (
        gradients(model, loss)
        for loss in (loss_of(model, batches, "full"), plain_loss(model, rows(packing=False)))
    )
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_checkpointing_changes_no_gradient(folders: Any) -> None:
    plain, checkpointed = (
        load_base(folders("llama"), config, device=CPU, precision="fp32")
        for config in (
            FULL,
            LanguageModelConfig(base_model="tiny", method="full", gradient_checkpointing=True),
        )
    )
    batches = rows(packing=True)
    for ours, theirs in zip(
        gradients(checkpointed, loss_of(checkpointed, batches, "full")),
        gradients(plain, loss_of(plain, batches, "full")),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_checkpointing_computes_layers_again_under_an_adapter(folders: Any) -> None:
    config = LanguageModelConfig(base_model="tiny", gradient_checkpointing=True, lora=Lora(dropout=0.0))
    model = add_adapter(load_base(folders("llama"), config, device=CPU, precision="fp32"), config)
    decoder_of(model)
    calls: list[int] = []
    model.get_base_model().model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    loss_of(model, rows(packing=True)[:1], "lora").backward()
    assert len(calls) == 2
    assert all(value.grad is not None for value in trained_parameters(model))


@pytest.mark.parametrize("config", [FULL, LORA], ids=lambda config: config.method)
def test_bf16_follows_fp32(folders: Any, config: LanguageModelConfig) -> None:
    exact = built(folders("llama"), config)
    coarse = load_base(folders("llama"), config, device=CPU, precision="bf16")
    if config.method == "lora":
        coarse = add_adapter(coarse, config)
        coarse.load_state_dict({k: v for k, v in exact.state_dict().items() if "lora_" in k}, strict=False)
    batches = rows(packing=True)
    sums = [loss_sums(coarse, each, precision="bf16", device=CPU, method=config.method) for each in batches]
    loss = torch.stack([each.loss for each in sums]).sum()
    expected = loss_of(exact, batches, config.method)
    torch.testing.assert_close(loss, expected, rtol=3e-3, atol=0)
    ours, theirs = (
        torch.cat([g.flatten() for g in gradients(*pair)]) for pair in ((coarse, loss), (exact, expected))
    )
    assert ours.dtype == torch.float32
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99


def test_an_evaluation_counts_tokens_and_first_choices(folders: Any) -> None:
    model = built(folders("llama"), FULL)
    (batch, *_) = rows(packing=False)
    with torch.no_grad():
        found = loss_sums(model, batch, precision="fp32", device=CPU, method="full")
        logits = model(input_ids=torch.from_numpy(batch.ids), use_cache=False).logits
    hits = (logits.argmax(-1).numpy() == batch.targets) & (batch.targets != IGNORED)
    assert (found.tokens, int(found.correct)) == (batch.trained_tokens, int(hits.sum()))
    assert not found.loss.requires_grad
