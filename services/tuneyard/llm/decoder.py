"""How a language model is taken apart for the loss: the decoder that gives hidden states, and its head.

What is found is proven on the model itself before it is believed; a model that cannot be taken apart is
computed whole, and one that lets samples of a packed row see each other gets them one by one.
"""

import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tuneyard.llm import attention
from tuneyard.llm.attention import Segments
from tuneyard.llm.chunked_loss import Head, LogitCourse

_RAMP = 60.0
"""Logits of the proof reach from minus to plus this, where a soft cap bends them visibly."""
_SEGMENTS = Segments(((7, 4, 5),))
"""Samples of the proof that rows keep them apart."""
_ROUNDING = {torch.float32: 1e-3}
_COARSE_ROUNDING = 3e-2
"""By how much of their size hidden states may differ for the order of sums alone. What another sample adds
is a multiple of it.
"""
_NOISE_FACTOR, _MOST_NOISE = 3.0, 0.15
"""Many layers in bf16 round by more, and 8-bit layers by what else is in the row: by up to so many times, and
so much, what the row's first sample shows, which no other comes before.
"""


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
    isolates: bool = False
    """Whether restarting positions keep the samples of a row apart."""
    takes_segments: bool = False
    """Whether attention may be computed for each sample by itself."""
    window: int | None = None
    """How far back some layer's attention reaches at most."""

    @property
    def head(self) -> Head | None:
        """The head's weights as they are now."""
        return None if self.output is None else Head(self.output.weight, self.output.bias, self.course)

    def keeps_apart(self, segments: Segments) -> bool:
        """Whether samples that share a row do not see each other."""
        return self.isolates or self._in_segments(segments)

    def _in_segments(self, segments: Segments) -> bool:
        return self.takes_segments and (self.window is None or segments.longest <= self.window)

    def inputs(self, ids: Tensor, positions: Tensor, segments: Segments) -> dict[str, Any]:
        """What to call `body` or `whole` with. No attention mask: restarting positions mean new samples."""
        given: dict[str, Any] = {"input_ids": ids, "use_cache": False, "return_dict": True}
        if self.takes_positions:
            given["position_ids"] = positions
        if self._in_segments(segments):
            given |= {"segments": segments, "attention_mask": attention.no_mask(ids.device)}
        return given


_known: weakref.WeakKeyDictionary[nn.Module, Decoder] = weakref.WeakKeyDictionary()


def decoder_of(model: Any) -> Decoder:
    """The parts of a causal language model of transformers, with or without an adapter of peft.

    Found once for each model: the proofs take some forward passes over a few tokens.
    """
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = _known.get(whole)
    output = whole.get_output_embeddings()
    if found is None or (found.output is not None and found.output is not output):
        with torch.no_grad(), _evaluating(whole):
            found = _known[whole] = _take_apart(whole, output)
    return found


def _take_apart(whole: Any, output: Any) -> Decoder:
    body = whole.base_model
    course = _course(whole.config)
    takes_positions = "position_ids" in inspect.signature(body.forward).parameters
    # Exactly this class: what adapts or quantises a layer derives from it.
    separable = type(output) is nn.Linear and body is not whole and _gives_logits(whole, body, output, course)
    apart = _samples_apart(body)
    plain = Decoder(
        whole, body, output if separable else None, course, takes_positions, window=_window(whole.config)
    )
    isolates = takes_positions and _same(_packed(plain), apart)
    return Decoder(**vars(plain) | {"isolates": isolates, "takes_segments": _segmented(whole, plain, apart)})


def _course(config: Any) -> LogitCourse:
    """As the configs of Gemma 2 and 3 (cap), Cohere (scale) and Granite (divisor) name it."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return LogitCourse(scale=scale / divisor, cap=float(cap) if cap else None)


def _window(config: Any) -> int | None:
    found = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(window) for window in found if window), default=None)


def _gives_logits(whole: nn.Module, body: nn.Module, output: nn.Linear, course: LogitCourse) -> bool:
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
    try:
        logits = whole(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    if len(seen) < 2 or not torch.equal(seen["into_head"], seen["hidden"]):
        return False
    expected = course.apply(ramp.to(output.weight.dtype).float()).expand_as(logits)
    return torch.allclose(logits.float(), expected, rtol=1e-2, atol=1e-2 * abs(course.scale))


def _samples_apart(body: Any) -> Tensor:
    """Hidden states of the proof's samples, each computed in a row of its own."""
    (lengths,) = _SEGMENTS.lengths
    samples = torch.split(_proof_ids(body), list(lengths), dim=1)
    return torch.cat([body(input_ids=ids, use_cache=False, return_dict=True)[0] for ids in samples], dim=1)


def _packed(decoder: Decoder) -> Tensor:
    """Hidden states of the same samples in one row."""
    (lengths,) = _SEGMENTS.lengths
    ids = _proof_ids(decoder.body)
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0).to(ids.device)
    hidden: Tensor = decoder.body(**decoder.inputs(ids, positions, _SEGMENTS))[0]
    return hidden


def _proof_ids(body: Any) -> Tensor:
    (lengths,) = _SEGMENTS.lengths
    table = body.get_input_embeddings().weight
    ids: Tensor = torch.arange(sum(lengths), device=table.device) % table.shape[0]
    return ids.unsqueeze(0)


def _same(ours: Tensor, theirs: Tensor) -> bool:
    """Whether packed samples (ours) are what they are apart, but for roundings."""
    first = _SEGMENTS.lengths[0][0]
    noise = _NOISE_FACTOR * _difference(ours[:, :first], theirs[:, :first])
    allowed = max(_ROUNDING.get(theirs.dtype, _COARSE_ROUNDING), min(noise, _MOST_NOISE))
    return _difference(ours, theirs) <= allowed


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """The size of the difference by that of what should be."""
    wanted = theirs.float()
    return float((ours.float() - wanted).norm() / wanted.norm().clamp(min=1e-30))


def _segmented(whole: Any, plain: Decoder, apart: Tensor) -> bool:
    """Puts attention by samples in where the model takes it, and says whether it does."""
    on_processor = apart.device.type == "cpu"
    if not (on_processor and plain.takes_positions and whole.config._attn_implementation == "sdpa"):
        return False
    attention.register()
    whole.set_attn_implementation(attention.NAME)
    if _proves(lambda: _packed(Decoder(**vars(plain) | {"takes_segments": True})), apart):
        return True
    whole.set_attn_implementation("sdpa")
    return False


def _proves(compute: Callable[[], Tensor], expected: Tensor) -> bool:
    try:
        return _same(compute(), expected)
    except (TypeError, ValueError, RuntimeError):  # a model that does not hand on what it does not know
        return False


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, after which the mode and the random state are as they were."""
    training, state = model.training, torch.get_rng_state()
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        torch.set_rng_state(state)
