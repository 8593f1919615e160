"""How a language model is taken apart for the loss: the decoder that gives hidden states, and its head.

What is found is proven on the model itself before it is believed; a model that cannot be taken apart is
computed whole.
"""

import inspect
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tuneyard.llm.chunked_loss import Head, LogitCourse

_RAMP = 60.0
"""Logits of the proof reach from minus to plus this, where a soft cap bends them visibly."""


@dataclass(frozen=True)
class Decoder:
    """The parts of a model that the loss is computed with."""

    whole: nn.Module
    """The model below any adapters, which gives logits."""
    body: nn.Module
    """What gives hidden states."""
    output: nn.Linear | None
    """The head; None if only the whole model knows how its logits come about."""
    course: LogitCourse
    takes_positions: bool

    @property
    def head(self) -> Head | None:
        """The head's weights as they are now."""
        return None if self.output is None else Head(self.output.weight, self.output.bias, self.course)

    def inputs(self, ids: Tensor, positions: Tensor) -> dict[str, Any]:
        """What to call `body` or `whole` with. No attention mask: restarting positions mean new segments."""
        given: dict[str, Any] = {"input_ids": ids, "use_cache": False, "return_dict": True}
        return given | {"position_ids": positions} if self.takes_positions else given


_known: weakref.WeakKeyDictionary[nn.Module, Decoder] = weakref.WeakKeyDictionary()


def decoder_of(model: Any) -> Decoder:
    """The parts of a causal language model of transformers, with or without an adapter of peft.

    Found once for each model: the proof takes a forward pass over a few tokens.
    """
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = _known.get(whole)
    output = whole.get_output_embeddings()
    if found is None or (found.output is not None and found.output is not output):
        found = _known[whole] = _take_apart(whole, output)
    return found


def _take_apart(whole: Any, output: Any) -> Decoder:
    body = whole.base_model
    course = _course(whole.config)
    takes_positions = "position_ids" in inspect.signature(body.forward).parameters
    # Exactly this class: what adapts or quantises a layer derives from it.
    separable = type(output) is nn.Linear and body is not whole and _proven(whole, body, output, course)
    return Decoder(whole, body, output if separable else None, course, takes_positions)


def _course(config: Any) -> LogitCourse:
    """As the configs of Gemma 2 and 3 (cap), Cohere (scale) and Granite (divisor) name it."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return LogitCourse(scale=scale / divisor, cap=float(cap) if cap else None)


@torch.no_grad()
def _proven(whole: nn.Module, body: nn.Module, output: nn.Linear, course: LogitCourse) -> bool:
    """Whether the head gets the body's hidden states as they are, and its output becomes logits as `course`
    says: seen by putting known numbers in the place of its output.
    """
    ids = torch.arange(4, device=output.weight.device).unsqueeze(0)
    ramp = torch.linspace(-_RAMP, _RAMP, output.weight.shape[0], device=ids.device)
    seen: dict[str, Tensor] = {}

    def keep_hidden(_module: nn.Module, _args: Any, given: Any) -> None:
        seen["hidden"] = given[0]

    def swap_output(_module: nn.Module, args: Any, given: Tensor) -> Tensor:
        seen["into_head"] = args[0]
        return ramp.to(given.dtype).expand_as(given).clone()

    hooks: list[RemovableHandle] = [
        body.register_forward_hook(keep_hidden),
        output.register_forward_hook(swap_output),
    ]
    training = whole.training
    random_state = torch.get_rng_state()
    try:
        whole.eval()
        logits = whole(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
        whole.train(training)
        torch.set_rng_state(random_state)
    if "into_head" not in seen or not torch.equal(seen["into_head"], seen["hidden"]):
        return False
    expected = course.apply(ramp.to(output.weight.dtype).float()).expand_as(logits)
    return torch.allclose(logits.float(), expected, rtol=1e-2, atol=1e-2 * abs(course.scale))
