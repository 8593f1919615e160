"""Adapters in a pipeline's network and text encoders: where they are put, and the base without them.

How they are written as files is `lora_files`' business.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.diffusion.config import Lora
from tuneyard.trainer.safe_json import refused

ALL_LINEAR = "all-linear"
NETWORK_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The attention projections of UNets."""
TRANSFORMER_TARGETS = (*NETWORK_TARGETS, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""And those of SD3's transformer, which has a second set for the text."""
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
_BLOCKS = ("attentions.", "transformer_blocks.", "layers.")
"""What "all-linear" reaches: kohya's format has no names for layers outside of them."""
_FIELD = "spec.text_to_image_lora.lora.target_modules"


def add_loras(
    part: str, network: nn.Module, text_encoders: Mapping[str, nn.Module], lora: Lora
) -> nn.ModuleDict:
    """Puts adapters into the network and into those text encoders, and returns all of them by their names in
    the pipeline: what training changes is what wants gradients there, and it is in fp32.

    The first weights are drawn from torch's global generator. Raises RecipeError INVALID_FIELD for names of
    layers that the network does not have.
    """
    usual = TRANSFORMER_TARGETS if part == "transformer" else NETWORK_TARGETS
    _add(network, adapted_layers(network, lora.target_modules, usual=usual), lora)
    for encoder in text_encoders.values():
        _add(encoder, adapted_layers(encoder, (), usual=TEXT_TARGETS), lora)
    return nn.ModuleDict({part: network, **text_encoders})


def adapted_layers(module: nn.Module, requested: Sequence[str], *, usual: Sequence[str]) -> list[str]:
    """The full names of the layers that get an adapter; raises RecipeError INVALID_FIELD."""
    layers = [name for name, each in module.named_modules() if isinstance(each, nn.Linear)]
    if tuple(requested) == (ALL_LINEAR,):
        return [name for name in layers if any(block in name for block in _BLOCKS)]
    wanted = requested or usual
    chosen = [name for name in layers if any(_ends(name, target) for target in wanted)]
    missing = [target for target in requested if not any(_ends(name, target) for name in layers)]
    if missing or not chosen:
        known = sorted({_leaf(name) for name in layers if any(block in name for block in _BLOCKS)})
        raise refused(
            f"{_FIELD}: the model has no linear layer named {', '.join(missing or wanted)}. It has:"
            f" {', '.join(known)}.",
            f"Name layers that the model has, or {ALL_LINEAR}.",
            reason="INVALID_FIELD",
        )
    return chosen


@contextmanager
def without_loras(adapted: nn.ModuleDict) -> Iterator[None]:
    """Within it, the modules answer as the base's do."""
    with ExitStack() as stack:
        for module in adapted.values():
            turned: Any = module
            turned.disable_adapters()
            stack.callback(turned.enable_adapters)
        yield


def scale_loras(module: nn.Module, scale: float) -> None:
    """Gives an adapted module's adapters this weight; 1 is as trained."""
    cast(Any, module).set_adapters("default", scale)


def checkpoint_gradients(adapted: nn.ModuleDict) -> None:
    """Computes activations again in the backward pass, which takes less memory and more time."""
    for name, module in adapted.items():
        turned: Any = module
        if name.startswith("text_encoder"):
            turned.activation_checkpointing_enable()
        else:
            turned.enable_gradient_checkpointing()


def use_in_input_format(module: nn.Module) -> None:
    """Lets a module's adapters compute in the format of their layers' inputs. peft would make, and keep for
    the backward pass, a copy of each input in the format of the adapters, fp32.
    """
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False
            for name in layer.lora_A:
                layer.lora_variant[name] = _InInputFormat()


class _InInputFormat(LoraVariant):
    """A plain adapter whose matrices are held in their own format, and used in that of what they are given.

    It is the second matrix that is scaled, not what comes out: that is far larger.
    """

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        down = module.lora_A[active_adapter].weight
        up = module.lora_B[active_adapter].weight * module.scaling[active_adapter]
        reduced = functional.linear(module.lora_dropout[active_adapter](x), down.to(x.dtype))
        return result + functional.linear(reduced, up.to(x.dtype))


def _add(module: nn.Module, layers: list[str], lora: Lora) -> None:
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=_shortest(module, layers),
        init_lora_weights="gaussian",
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
        bias="none",
    )
    cast(Any, module).add_adapter(settings)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    if not lora.use_dora:
        use_in_input_format(module)
    module.train()


def _shortest(module: nn.Module, layers: list[str]) -> list[str]:
    """The layers' last names where these choose no other layer of the module, else their full names."""
    leaves = {_leaf(name) for name in layers}
    meant = {name for name, _ in module.named_modules() if any(_ends(name, leaf) for leaf in leaves)}
    return sorted(leaves) if meant == set(layers) else layers


def _leaf(name: str) -> str:
    """The last part of a path, with the one before it where it is a number: "to_out.0"."""
    head, _, last = name.rpartition(".")
    return f"{head.rpartition('.')[2]}.{last}" if last.isdecimal() else last


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
