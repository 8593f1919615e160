"""The frozen base in 4 or 8 bits, by bitsandbytes: its settings, and what makes it sound to train on."""

import logging
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from transformers import BitsAndBytesConfig

from tuneyard.llm.config import Quantization

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def compute_dtype(quantization: Quantization, device: torch.device) -> torch.dtype:
    """The number format of the arithmetic on 4-bit weights: as given, else bfloat16 where the device has it,
    else float16.

    The processor computes float16 too, in places by way of fp32, and more slowly.
    """
    if quantization.compute_dtype != "auto":
        return _DTYPES[quantization.compute_dtype]
    has_bf16 = torch.cuda.get_device_capability(device)[0] >= 8 if device.type == "cuda" else True
    return torch.bfloat16 if has_bf16 else torch.float16


def loading_settings(quantization: Quantization, device: torch.device) -> BitsAndBytesConfig:
    """What `from_pretrained` needs to quantise each weight as it reads it."""
    if quantization.bits == 8:
        silence_casts()
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.nested,
        bnb_4bit_compute_dtype=compute_dtype(quantization, device),
    )


def silence_casts() -> None:
    """bitsandbytes logs at each layer that 8-bit products are computed of float16 inputs."""
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def keep_weights_as_trained(model: nn.Module) -> None:
    """Forbids bitsandbytes to repack 4-bit weights for the processor's bf16 instructions.

    It does so, for good, at the first forward pass in evaluation mode without gradients. A backward pass, a
    merge or a save after that takes the repacked bytes for the original ones: gradients are wrong while the
    loss looks right.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def is_quantized(module: Any) -> bool:
    """Whether a layer's weights are in 4 or 8 bits."""
    return isinstance(module, nn.Module) and type(module).__module__.startswith("bitsandbytes.")


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights as they are held, with the scales of quantised ones."""
    total = 0
    for parameter in model.parameters():
        total += parameter.numel() * parameter.element_size()
        state = getattr(parameter, "quant_state", None)
        for part in (state, getattr(state, "state2", None)):
            absmax = getattr(part, "absmax", None)
            if absmax is not None:
                total += absmax.numel() * absmax.element_size()
        scales = getattr(parameter, "SCB", None)
        if scales is not None:
            total += scales.numel() * scales.element_size()
    return total
