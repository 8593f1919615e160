"""The loss of rows of tokens, for training and for evaluation alike, without ever holding all logits.

The decoder gives hidden states; the head is applied to trained positions only, a few at a time. Models that
do otherwise than hidden state, linear head, scale, soft cap are computed whole, with all their logits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.llm.attention import segments_of
from tuneyard.llm.chunked_loss import chunked_loss
from tuneyard.llm.config import MethodName
from tuneyard.llm.decoder import Decoder, decoder_of
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
    segments = segments_of(rows.positions)
    pieces = _one_by_one(rows) if segments.packed and not decoder.keeps_apart(segments) else [rows]
    sums = []
    for piece in pieces:
        batch = _Batch.on(device, piece)
        with autocast(precision, device, method):
            computed = _computed(decoder, piece, batch)
        sums.append(_scored(decoder, computed, batch, dtype_of(precision), chunk_tokens))
    losses, corrects = zip(*sums, strict=True)
    return LossSums(torch.stack(losses).sum(), rows.trained_tokens, torch.stack(corrects).sum())


@dataclass(frozen=True)
class _Batch:
    """Rows on the device."""

    ids: Tensor
    positions: Tensor
    index: Tensor
    """The places that are trained on, in the flattened rows."""
    targets: Tensor
    """The tokens at these places."""

    @classmethod
    def on(cls, device: torch.device, rows: Rows) -> "_Batch":
        targets = rows.targets.reshape(-1)
        (places,) = (targets != IGNORED).nonzero()
        arrays = (rows.ids, rows.positions, places, targets[places])
        return cls(*(torch.from_numpy(each).to(device, torch.int64) for each in arrays))


def _computed(decoder: Decoder, rows: Rows, batch: _Batch) -> Tensor:
    """The hidden states of all positions, or where the model cannot be taken apart, the logits."""
    inputs = decoder.inputs(batch.ids, batch.positions, segments_of(rows.positions))
    if decoder.output is None:
        logits: Tensor = decoder.whole(**inputs).logits
        return logits.flatten(0, 1)
    hidden: Tensor = decoder.body(**inputs)[0]
    return hidden.flatten(0, 1)


def _scored(
    decoder: Decoder, computed: Tensor, batch: _Batch, dtype: torch.dtype, chunk_tokens: int | None
) -> tuple[Tensor, Tensor]:
    if decoder.head is not None:
        return chunked_loss(
            computed,
            decoder.head,
            index=batch.index,
            targets=batch.targets,
            dtype=dtype,
            chunk_tokens=chunk_tokens,
        )
    logits = computed.index_select(0, batch.index).float()
    loss = functional.cross_entropy(logits, batch.targets, reduction="sum")
    return loss, (logits.detach().argmax(dim=1) == batch.targets).sum()


def _one_by_one(rows: Rows) -> list[Rows]:
    """Each sample in a row of its own, for models that would let packed ones see each other."""
    pieces = []
    for row in range(len(rows)):
        starts = np.flatnonzero(rows.positions[row] == 0)
        borders = zip(starts, [*starts[1:], rows.length], strict=True)
        for part in (np.s_[row : row + 1, start:stop] for start, stop in borders):
            targets = rows.targets[part]
            trained = int((targets != IGNORED).sum())
            pieces.append(Rows(rows.ids[part], rows.positions[part], targets, 1, targets.size, trained))
    return pieces
