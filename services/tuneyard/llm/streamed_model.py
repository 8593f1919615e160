"""Runs a language model whose weights stay on disk: each layer's are read as it computes, and dropped again.

For proving what was written, on models of any size: in fp32, slowly. Not for training or answering.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tuneyard.llm.base_model import attention_of
from tuneyard.llm.stored_adapter import read_adapter
from tuneyard.llm.stored_names import stored_names
from tuneyard.llm.weights_index import read_index
from tuneyard.trainer.errors import RecipeError

_ADAPTER = "default"


class TensorFiles:
    """The tensors of a folder, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.index = read_index(folder)
        self._opened: dict[str, Any] = {
            file: safe_open(folder / file, framework="pt") for file in self.index.files
        }

    def read(self, name: str) -> Tensor:
        """A stored tensor as it is."""
        value: Tensor = self._opened[self.index.tensors[name].file].get_tensor(name)
        return value


def streamed_model(folder: Path, *, check: Callable[[], None] = lambda: None) -> PreTrainedModel:
    """The folder's model in evaluation mode, whose forward reads its weights from the files.

    `check` is called before each layer, and may raise. RecipeError NOT_SUPPORTED for architectures whose
    files transformers rearranges as it loads them.
    """
    config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    loader: Any = AutoModelForCausalLM
    with init_empty_weights(include_buffers=False):
        model: Any = loader.from_config(config, dtype=torch.float32, attn_implementation=attention_of(folder))
    model.tie_weights()
    model.eval()
    model.config.use_cache = False
    files = TensorFiles(folder)
    stored = _stored_names(model, files)
    for module in list(model.modules()):
        own = {name: stored[id(value)] for name, value in module.named_parameters(recurse=False)}
        if own:
            _stream(module, module, own, files, check)
    return model  # type: ignore[no-any-return]


def with_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """peft's model of a streamed one and the adapter in a folder, which is small and in memory.

    Its layers look at their base's weights by themselves: these are read before a layer computes.
    """
    base: Any = model
    adapted = PeftModel.from_pretrained(base, str(folder), low_cpu_mem_usage=True).eval()
    stored = read_adapter(folder)
    for name, module in adapted.get_base_model().named_modules():
        if not isinstance(module, LoraLayer):
            continue
        layer: Any = module
        parts = stored.layers[name]
        # peft puts the adapter where the base's weights are, which is nowhere.
        _set(layer.lora_A[_ADAPTER], parts.down)
        _set(layer.lora_B[_ADAPTER], parts.up)
        if parts.magnitude is not None:
            _set(layer.lora_magnitude_vector[_ADAPTER], parts.magnitude)
        linear: Any = layer.get_base_layer()
        own, files, check = linear.streamed
        for handle in linear.streaming:
            handle.remove()
        _stream(layer, linear, own, files, check)
    return adapted


def _set(module: nn.Module, value: Tensor) -> None:
    module.register_parameter("weight", nn.Parameter(value.float(), requires_grad=False))


def _stored_names(model: PreTrainedModel, files: TensorFiles) -> dict[int, str]:
    """The stored tensor of each parameter, by its identity: tied ones are stored under one of their names."""
    by_name = stored_names(model, files.index)
    names: dict[int, str] = {}
    wanted: dict[int, str] = {}
    for parameter, value in model.named_parameters(remove_duplicate=False):
        wanted.setdefault(id(value), parameter)
        if parameter in by_name:
            names.setdefault(id(value), by_name[parameter])
    if missing := [name for key, name in wanted.items() if key not in names]:
        raise RecipeError(
            f"{missing[0]} is not stored as one tensor: transformers puts it together as it loads the model.",
            reason="NOT_SUPPORTED",
        )
    return names


def _stream(
    observed: nn.Module,
    owner: nn.Module,
    own: Mapping[str, str],
    files: TensorFiles,
    check: Callable[[], None],
) -> None:
    """Has the owner's weights read whenever `observed` computes."""
    empty = {name: owner._parameters[name] for name in own}

    def fill(*_: Any) -> None:
        check()
        for name, stored in own.items():
            value = files.read(stored)
            value = value.float() if value.is_floating_point() else value
            owner._parameters[name] = nn.Parameter(value, requires_grad=False)

    def drop(*_: Any) -> None:
        owner._parameters.update(empty)

    target: Any = owner
    target.streamed = (own, files, check)
    target.streaming = [observed.register_forward_pre_hook(fill), observed.register_forward_hook(drop)]
