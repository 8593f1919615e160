"""Adapters on a frozen base: making them, their state in checkpoints, and the folder that peft loads.

The folder needs nothing of ours: `PeftModel.from_pretrained(base, folder)` reads it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.kept import keep_little
from tuneyard.llm.quantization import is_quantized
from tuneyard.llm.targets import chosen_layers, leaf
from tuneyard.recipes.tensor_files import save_described
from tuneyard.trainer.base_identity import BaseIdentity
from tuneyard.trainer.errors import RecipeError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_TARGETS = "spec.language_model.lora.target_modules"


def add_adapter(model: PreTrainedModel, config: LanguageModelConfig) -> PeftModel:
    """The model with an adapter at each chosen layer: in fp32, and the only thing that is trained.

    Its first weights are drawn from torch's global generator. Raises RecipeError INVALID_FIELD for names of
    layers that the model does not have.
    """
    lora = config.lora
    if lora is None:
        raise ValueError("the config holds no settings of adapters")
    targets = adapted_layers(model, lora.target_modules)
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.r,
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=_shortest(model, targets),
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
        bias="none",
    )
    with warnings.catch_warnings():
        # peft asks transformers for an attribute by its old name.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = cast(PeftModel, get_peft_model(model, settings, autocast_adapter_dtype=True))
    # Both libraries let the embeddings want gradients for the sake of re-entrant checkpointing, which is not
    # used here: without that, the backward pass ends at the first adapter.
    cast(Any, model).disable_input_require_grads()
    keep_little(adapted.eval())
    adapted.train()
    return adapted


def adapted_layers(model: PreTrainedModel, requested: tuple[str, ...]) -> list[str]:
    """The full names of the layers that get an adapter; raises RecipeError INVALID_FIELD."""
    layers = {name: module for name, module in model.named_modules() if _is_linear(module)}
    output: Any = cast(Any, model).get_output_embeddings()
    head = next((name for name, module in layers.items() if module is output), "")
    tied = output is not None and output.weight is cast(Any, model).get_input_embeddings().weight
    known = sorted({leaf(name) for name in layers if name != head or not tied})
    try:
        chosen = chosen_layers([name for name in layers if name != head or not tied], requested, head=head)
    except ValueError as error:
        wrong = (
            f"the model has no linear layer named {error}" if str(error) else "the model names no attention"
        )
        raise RecipeError(
            f"{_TARGETS}: {wrong}. It has: {', '.join(known)}.",
            reason="INVALID_FIELD",
            remedies=("Name layers that the model has, or all-linear.",),
        ) from error
    return chosen


@contextmanager
def without_adapter(model: PeftModel) -> Iterator[None]:
    """Within it, the model answers as its base does."""
    with model.disable_adapter():
        yield


def save_adapter(
    model: PeftModel, folder: Path, *, base: BaseIdentity, dtype: torch.dtype = torch.bfloat16
) -> Path:
    """Writes the adapter's weights in `dtype` and its config into an existing folder, and returns the folder.

    Not by `save_pretrained`, which asks the hub about the base's name. Raises OSError.
    """
    state: Mapping[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in state.items()}
    facts = {"base_model": base.id, "base_model_revision": base.revision, "base_model_sha256": base.sha256}
    save_described(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt", **facts})
    text = json.dumps(_saved_config(model, base), indent=2, sort_keys=True)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")
    return folder


def _saved_config(model: PeftModel, base: BaseIdentity) -> dict[str, Any]:
    values: dict[str, Any] = model.peft_config["default"].to_dict()
    root = model.get_base_model()
    values |= {
        "base_model_name_or_path": base.id,
        "revision": base.revision or None,
        "inference_mode": True,
        # The place where peft tells which base is meant; a key of our own would make it warn at each load.
        "auto_mapping": {
            "base_model_class": type(root).__name__,
            "parent_library": type(root).__module__,
            "base_model_sha256": base.sha256,
        },
    }
    return {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}


def _shortest(model: PreTrainedModel, layers: list[str]) -> list[str]:
    """The layers' last names where these choose no other layer of the model, else their full names."""
    leaves = {leaf(name) for name in layers}
    meant = {name for name, _ in model.named_modules() if leaf(name) in leaves}
    return sorted(leaves) if meant == set(layers) else layers


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D) or is_quantized(module)
