"""Cross entropy of a linear head, some tokens at a time: the logits of one chunk exist at once, never all.

Knows nothing of models or rows. The forward pass computes the gradients as well, since it has the
probabilities at hand; the backward pass only scales them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tuneyard.llm import loss_chunks


@dataclass(frozen=True)
class LogitCourse:
    """What a model does to the head's output before it calls it logits."""

    scale: float = 1.0
    """Cohere's and Granite's factor."""
    cap: float | None = None
    """Gemma's soft cap: x becomes cap · tanh(x / cap), after the scale."""

    def apply(self, logits: Tensor) -> Tensor:
        """Changes fp32 logits in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits

    def slope(self, logits: Tensor) -> Tensor | None:
        """The derivative of `apply` by its input at what it gave; None where it is 1."""
        if self.cap is not None:
            return (logits / self.cap).square_().neg_().add_(1).mul_(self.scale)
        return torch.full((), self.scale, device=logits.device) if self.scale != 1.0 else None


@dataclass(frozen=True)
class Head:
    """The last linear layer [vocabulary, hidden] and what follows it."""

    weight: Tensor
    bias: Tensor | None = None
    course: LogitCourse = LogitCourse()


def chunked_loss(
    hidden: Tensor,
    head: Head,
    *,
    index: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum of the cross entropies (fp32, differentiable), and how many targets are the first choice.

    `hidden` is [tokens, hidden]; `index` names the positions that count, `targets` their tokens, both int64
    and of one length. The products are computed in `dtype`, everything else in fp32.
    """
    on_cpu = hidden.device.type == "cpu"
    chunk = chunk_tokens or loss_chunks.chunk_tokens(head.weight.shape[0], on_cpu=on_cpu)
    plan = _Plan(torch.split(index, chunk), torch.split(targets, chunk), chunk, head.course, dtype)
    loss, correct = _ChunkedLoss.apply(hidden, head.weight, head.bias, plan)
    return loss, correct


@dataclass(frozen=True)
class _Plan:
    index: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    chunk: int
    """Tokens of all but the last."""
    course: LogitCourse
    dtype: torch.dtype


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan
    ) -> tuple[Tensor, Tensor]:
        for_hidden, for_weight, for_bias, _ = ctx.needs_input_grad
        d_hidden = torch.zeros_like(hidden) if for_hidden else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and for_bias else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            factor = weight.to(plan.dtype)
            offset = None if bias is None else bias.to(plan.dtype)
            for places, wanted in zip(plan.index, plan.targets, strict=True):
                rows = _of_usual_length(hidden.index_select(0, places).to(plan.dtype), at_most=plan.chunk)
                filled = functional.linear(rows, factor, offset).float()
                filled[len(places) :] = 0
                logits = plan.course.apply(filled[: len(places)])
                chunk_loss, chunk_correct, gradient = _cross_entropy(
                    logits, wanted.unsqueeze(1), plan.course, differentiate=any(ctx.needs_input_grad)
                )
                loss += chunk_loss
                correct += chunk_correct
                if d_bias is not None:
                    d_bias += gradient.sum(0)
                # The gradient took the logits' place; what fills up is zero.
                gradient = filled.to(plan.dtype)
                if d_hidden is not None:
                    product = (gradient @ factor)[: len(places)]
                    d_hidden.index_copy_(0, places, product.to(d_hidden.dtype))
                if d_weight is not None:
                    d_weight += gradient.T @ rows
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.dtypes = (weight.dtype, None if bias is None else bias.dtype)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        scale = grad_outputs[0]
        return (
            None if d_hidden is None else d_hidden * scale.to(d_hidden.dtype),
            None if d_weight is None else (d_weight * scale).to(weight_dtype),
            None if d_bias is None else (d_bias * scale).to(bias_dtype),
            None,
        )


def _of_usual_length(rows: Tensor, *, at_most: int) -> Tensor:
    """The rows, filled up with zeros: oneDNN keeps memory for every shape that it has met."""
    missing = min(-len(rows) % loss_chunks.UNIT, max(0, at_most - len(rows)))
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows


def _cross_entropy(
    logits: Tensor, wanted: Tensor, course: LogitCourse, *, differentiate: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A chunk's loss, how many first choices are right, and the gradient by the head's output, which takes
    the logits' place: without `differentiate` it is none.
    """
    top, first = logits.max(dim=1, keepdim=True)
    picked = logits.gather(1, wanted)
    slope = course.slope(logits) if differentiate else None
    torch.softmax(logits, dim=1, out=logits)
    # The largest probability is 1 / Σ exp(logit - top): underflow never takes it, as it may the wanted one.
    loss = (top - logits.gather(1, first).log() - picked).sum()
    correct = (first == wanted).sum()
    if differentiate:
        logits.scatter_add_(1, wanted, torch.full_like(picked, -1.0))
        if slope is not None:
            logits.mul_(slope)
    return loss, correct, logits
