"""Models on the meta device, without their weights: whether stored ones fit, and exact facts of the sizes."""

import inspect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tuneyard.llm.model_facts import MIXING, Linears, ModelFacts
from tuneyard.llm.quiet import quiet_transformers
from tuneyard.llm.targets import leaf

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
_WIDTHS = ("intermediate_size", "n_inner", "ffn_dim")
_ATTENTION_DROPOUTS = ("attention_dropout", "attn_pdrop")
_SHOWN = 5


@dataclass(frozen=True)
class Fit:
    """How the tensors of a folder compare with its config.json, by transformers' own rules of names."""

    model: PreTrainedModel
    """On the meta device."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("of another shape", self.misshapen),
            ("unknown", self.unexpected),
        )
        return "; ".join(
            f"{len(names)} {word}: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
            for word, names in parts
            if names
        )


def fit(folder: Path) -> Fit:
    """Has transformers load the folder onto the meta device, for which it reads the files' headers only."""
    loader: Any = AutoModelForCausalLM
    with quiet_transformers():
        model, info = loader.from_pretrained(
            str(folder),
            dtype="auto",
            device_map="meta",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return Fit(
        cast(PreTrainedModel, model),
        missing=tuple(sorted(map(str, info["missing_keys"]))),
        unexpected=tuple(sorted(map(str, info["unexpected_keys"]))),
        misshapen=tuple(
            sorted(
                f"{name} {tuple(found)}, not {tuple(wanted)}"
                for name, found, wanted in info["mismatched_keys"]
            )
        ),
    )


def facts_of(model: PreTrainedModel, *, dtype_bytes: int) -> ModelFacts:
    """The facts of a model, which may be on the meta device; `dtype_bytes` are those of a stored weight."""
    config: Any = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    embeddings: Any = model.get_input_embeddings()
    linears = _linears(model, head)
    return ModelFacts(
        architecture=type(model).__name__,
        model_type=config.model_type,
        hidden_size=hidden,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
        intermediate_size=_first(config, _WIDTHS) or 4 * hidden,
        vocab_size=embeddings.weight.shape[0],
        max_positions=_first(config, _POSITIONS),
        tied_embeddings=head is not None and head.weight is embeddings.weight,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype_bytes=dtype_bytes,
        linears=linears,
        attention_dropout=_attention_dropout(config),
        fused_attention=getattr(type(model), "_supports_sdpa", True),
        isolates=_takes_positions(model) and config.model_type not in MIXING,
    )


def _takes_positions(model: PreTrainedModel) -> bool:
    """Whether it can be told that a sample begins within a row: models without cannot be packed for."""
    return "position_ids" in inspect.signature(model.base_model.forward).parameters


def _attention_dropout(config: Any) -> float:
    found = (getattr(config, name, None) for name in _ATTENTION_DROPOUTS)
    return next((float(value) for value in found if isinstance(value, int | float)), 0.0)


def _linears(model: nn.Module, head: nn.Module | None) -> tuple[Linears, ...]:
    counts: Counter[tuple[str, int, int]] = Counter()
    for name, module in model.named_modules():
        if module is head:
            continue
        if isinstance(module, nn.Linear):
            counts[leaf(name), module.in_features, module.out_features] += 1
        elif isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
            counts[leaf(name), inputs, outputs] += 1
    return tuple(Linears(name, inputs, outputs, count) for (name, inputs, outputs), count in counts.items())


def _first(config: Any, names: tuple[str, ...]) -> int:
    found = (getattr(config, name, None) for name in names)
    return next((int(value) for value in found if isinstance(value, int)), 0)
