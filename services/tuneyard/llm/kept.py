"""What a frozen base's layers keep for the backward pass: less than autograd would, for the same gradients.

A norm keeps its input in the model's format, and not the fp32 copy that it computes with; a gated MLP keeps
the two factors of its product, and not what the activation made of the first; an adapter keeps its layer's
input as the layer got it, once for all adapters on it, and of dropout one byte; an 8-bit layer keeps nothing.
The rest is computed again.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from bitsandbytes.nn.modules import Linear8bitLt
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

_GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
"""The parts of a gated MLP, as Llama and those after it name them."""
_PROOF_TOKENS = 4


def keep_little(model: nn.Module) -> None:
    """Replaces the forward passes of the norms, gated MLPs and adapters that are known here.

    Everything else stays, and under autocast these do as well. The base must be frozen.
    """
    proven: dict[type, bool] = {}
    for module in model.modules():
        if isinstance(module, LoraLayer):
            _keep_input(module)
        elif isinstance(module, Linear8bitLt):
            _replace(module, partial(_frozen_8bit, module, module.forward))
        elif _is_norm(module):
            _replace(module, partial(_recomputed, module.forward))
        elif all(isinstance(getattr(module, name, None), nn.Module) for name in _GATED):
            kind = type(module)
            if kind not in proven:
                proven[kind] = _proves(module)
            if proven[kind]:
                _replace(module, partial(_gated_mlp, module))


def _is_norm(module: nn.Module) -> bool:
    """Whether it is an RMS norm as transformers writes them, which computes in fp32 what is none."""
    kind = type(module)
    if not kind.__name__.endswith("RMSNorm") or kind.__module__.startswith("torch."):
        return False
    narrow = any(parameter.dtype != torch.float32 for parameter in module.parameters())
    return narrow and len(inspect.signature(module.forward).parameters) == 1


def _replace(module: Any, forward: Callable[..., Any]) -> None:
    """Only where no weight is trained: what is computed again knows of inputs alone."""
    if not any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
        module.forward = forward


def _recomputed(compute: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    if torch.is_autocast_enabled(given.device.type):
        return compute(given)
    return cast(Tensor, _Recomputed.apply(compute, given))


class _Recomputed(torch.autograd.Function):
    """Keeps the input alone, and computes again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        ctx.compute = compute
        ctx.save_for_backward(given)
        return compute(given)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (given,) = ctx.saved_tensors
        return None, _pulled_back(ctx.compute, given, grad_outputs[0])[1]


def _pulled_back(
    compute: Callable[[Tensor], Tensor], given: Tensor, factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What `compute` gives, and the gradient by its input of a product with `factor`."""
    with torch.enable_grad():
        leaf = given.detach().requires_grad_()
        output = compute(leaf)
    (gradient,) = torch.autograd.grad(output, leaf, factor)
    return output.detach(), gradient


def _frozen_8bit(layer: Any, compute: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and given.requires_grad):
        return compute(given)
    return cast(Tensor, _Frozen8bit.apply(compute, layer.state, given))


class _Frozen8bit(torch.autograd.Function):
    """An 8-bit layer whose weights are not trained, so that its input is not needed again.

    bitsandbytes keeps the input all the same, and out of the reach of checkpointing.
    """

    @staticmethod
    def forward(ctx: Any, compute: Callable[[Tensor], Tensor], state: Any, given: Tensor) -> Tensor:
        ctx.state, ctx.dtype = state, given.dtype
        return compute(given.detach())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        scales = ctx.state.SCB.unsqueeze(1).mul(1.0 / 127.0)
        weight = ctx.state.CB.to(ctx.dtype, copy=True).mul_(scales)
        return None, None, grad_outputs[0].to(ctx.dtype) @ weight


def _gated_mlp(module: Any, given: Tensor) -> Tensor:
    gate, up = module.gate_proj(given), module.up_proj(given)
    if torch.is_autocast_enabled(given.device.type):
        product = module.act_fn(gate) * up
    else:
        product = _Gated.apply(module.act_fn, gate, up)
    return cast(Tensor, module.down_proj(product))


class _Gated(torch.autograd.Function):
    """act(gate) · up."""

    @staticmethod
    def forward(ctx: Any, activation: Callable[[Tensor], Tensor], gate: Tensor, up: Tensor) -> Tensor:
        ctx.activation = activation
        ctx.save_for_backward(gate, up)
        return activation(gate) * up

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        (gradient,) = grad_outputs
        activated, for_gate = _pulled_back(ctx.activation, gate, gradient * up)
        return None, for_gate, gradient * activated


@torch.no_grad()
def _proves(module: Any) -> bool:
    """Whether the parts, put together as here, are what this kind of module computes."""
    weight = module.up_proj.weight
    width = getattr(module.up_proj, "in_features", None)
    if width is None:
        return False
    dtype = weight.dtype if weight.is_floating_point() else torch.bfloat16
    ramp = torch.linspace(-2, 2, _PROOF_TOKENS * width, device=weight.device)
    given = ramp.to(dtype).view(1, _PROOF_TOKENS, width)
    try:
        return torch.equal(module.forward(given), _gated_mlp(module, given))
    except (TypeError, RuntimeError):  # of a module that has these parts for another purpose
        return False


def _keep_input(layer: LoraLayer) -> None:
    """Puts the adapters' first factors on their layer's input as it is."""
    for name, factor in layer.lora_A.items():
        if type(factor) is not nn.Linear or name in layer.lora_variant:
            continue
        dropout = layer.lora_dropout[name]
        layer.lora_A[name] = _FirstFactor(factor, getattr(dropout, "p", 0.0))
        layer.lora_dropout[name] = nn.Identity()
        layer.cast_input_dtype_enabled = False


class _FirstFactor(nn.Linear):
    """A of an adapter B·A with the dropout before it; computes in its weight's format, whatever it gets."""

    def __init__(self, factor: nn.Linear, dropout: float) -> None:
        super().__init__(factor.in_features, factor.out_features, bias=False, device="meta")
        self.weight = factor.weight
        self.dropout = dropout

    def forward(self, given: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if torch.is_autocast_enabled(given.device.type):
            return functional.linear(functional.dropout(given, dropout), self.weight)
        kept = None
        if dropout:
            kept = torch.empty_like(given, dtype=torch.bool).bernoulli_(1 - dropout)
        return cast(Tensor, _FromNarrow.apply(given, self.weight, kept, 1 / (1 - dropout)))


class _FromNarrow(torch.autograd.Function):
    """The product of a narrow input, some of which is dropped, with a wide weight."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, kept: Tensor | None, scale: float) -> Tensor:
        ctx.scale = scale
        ctx.save_for_backward(given, weight, kept)
        return functional.linear(_widened(given, weight.dtype, kept, scale), weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        given, weight, kept = ctx.saved_tensors
        (gradient,) = grad_outputs
        for_given = for_weight = None
        if ctx.needs_input_grad[0]:
            for_given = _dropped(gradient @ weight, kept, ctx.scale).to(given.dtype)
        if ctx.needs_input_grad[1]:
            wide = _widened(given, weight.dtype, kept, ctx.scale)
            for_weight = gradient.flatten(0, -2).T @ wide.flatten(0, -2)
        return for_given, for_weight, None, None


def _widened(given: Tensor, dtype: torch.dtype, kept: Tensor | None, scale: float) -> Tensor:
    return _dropped(given.to(dtype), kept, scale)


def _dropped(wide: Tensor, kept: Tensor | None, scale: float) -> Tensor:
    return wide if kept is None else wide * kept * scale
