"""The loss of rows of tokens, for training and for evaluation alike, without ever holding all logits.

The decoder gives hidden states; the head is applied to trained positions only, a few at a time. Models that
do otherwise than hidden state, linear head, scale, soft cap are computed whole, with all their logits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.llm.chunked_loss import chunked_loss
from tuneyard.llm.config import MethodName
from tuneyard.llm.decoder import decoder_of
from tuneyard.llm.precision import Precision, autocast, dtype_of
from tuneyard.llm.rows import IGNORED, Rows


@dataclass(frozen=True)
class LossSums:
    """What a micro-batch adds to a step's loss, or to an evaluation's."""

    loss: Tensor
    """The sum over trained tokens, fp32 and differentiable."""
    tokens: int
    """Trained tokens in the sum."""
    correct: Tensor
    """How many of them are the model's first choice, int64."""


def loss_sums(
    model: nn.Module,
    rows: Rows,
    *,
    precision: Precision,
    device: torch.device,
    method: MethodName = "lora",
    chunk_tokens: int | None = None,
) -> LossSums:
    """The summed cross entropy of the rows' trained tokens. Under `torch.no_grad` no gradient is computed.

    `chunk_tokens` is how many positions have logits at once; None: by the vocabulary and the device.
    """
    decoder = decoder_of(model)
    places = (rows.targets.reshape(-1) != IGNORED).nonzero()[0]
    index = torch.from_numpy(places).to(device)
    targets = torch.from_numpy(rows.targets.reshape(-1)[places]).to(device, torch.int64)
    inputs = decoder.inputs(
        torch.from_numpy(rows.ids).to(device, torch.int64),
        torch.from_numpy(rows.positions).to(device, torch.int64),
    )
    if decoder.head is None:
        with autocast(precision, device, method):
            logits = decoder.whole(**inputs).logits
        loss, correct = _of_logits(logits.flatten(0, 1).index_select(0, index), targets)
        return LossSums(loss, len(places), correct)
    with autocast(precision, device, method):
        hidden = decoder.body(**inputs)[0].flatten(0, 1)
    loss, correct = chunked_loss(
        hidden,
        decoder.head,
        index=index,
        targets=targets,
        dtype=dtype_of(precision),
        chunk_tokens=chunk_tokens,
    )
    return LossSums(loss, len(places), correct)


def _of_logits(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.float()
    loss = functional.cross_entropy(logits, targets, reduction="sum")
    return loss, (logits.detach().argmax(dim=1) == targets).sum()
