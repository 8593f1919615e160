"""Attention within the samples of packed rows, a few at a time: most of what lies between is never computed.

transformers' own way masks it out of all that a whole row would attend to. For the processor only, whose
kernels gain by it: on an accelerator many short ones would keep it waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "tuneyard_segments"
"""As transformers knows this implementation; without segments it is sdpa."""

_GROUP_TOKENS = 256
"""Neighbouring short samples are computed together, under a mask: below this many tokens, a kernel's start
and end cost more than what the mask throws away.
"""


_USUAL = 64
"""Groups are filled up to a multiple of it."""


@dataclass(frozen=True)
class Segments:
    """The lengths of the samples in each row; padding counts to the last one."""

    lengths: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest sample."""
        return max(max(row) for row in self.lengths)

    @property
    def packed(self) -> bool:
        """Whether any row holds more than one sample."""
        return any(len(row) > 1 for row in self.lengths)

    @cached_property
    def groups(self) -> tuple[tuple["Group", ...], ...]:
        """For each row, what is computed at once. All layers share the masks."""
        return tuple(tuple(map(Group, _grouped(row))) for row in self.lengths)


@dataclass(frozen=True)
class Group:
    """Neighbouring samples of a row."""

    lengths: list[int]

    @property
    def tokens(self) -> int:
        """Of all samples together."""
        return sum(self.lengths)

    @property
    def padding(self) -> int:
        """Tokens that fill the group up, so that few widths occur: oneDNN keeps memory for every shape."""
        return -self.tokens % _USUAL

    @cached_property
    def mask(self) -> Tensor | None:
        """Which token attends to which, bool, for the processor; None: each to all before it."""
        if len(self.lengths) == 1:
            # What fills up comes last: no token of the sample attends to it.
            return None
        lengths = [*self.lengths, self.padding]
        sample = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        same: Tensor = sample.unsqueeze(1) == sample
        return same.tril()[None, None]


def _grouped(lengths: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for length in lengths:
        if groups and sum(groups[-1]) + length <= _GROUP_TOKENS:
            groups[-1].append(length)
        else:
            groups.append([length])
    return groups


def segments_of(positions: NDArray[np.int64]) -> Segments:
    """The segments of rows, which begin where positions are 0."""
    width = positions.shape[1]
    borders = [[*np.flatnonzero(row == 0).tolist(), width] for row in positions]
    return Segments(tuple(tuple(stop - start for start, stop in pairwise(row)) for row in borders))


def no_mask(device: torch.device) -> Tensor:
    """What models take for a finished mask, so that they make none of their own."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def register() -> None:
    """Makes the implementation known to transformers, under `NAME`."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """As transformers' attention functions: tensors of (rows, heads, length, width) in, with length and heads
    exchanged out.
    """
    segments: Segments | None = settings.pop("segments", None)
    if segments is None:
        return _sdpa(module, query, key, value, attention_mask, **settings)
    if not segments.packed:
        return _sdpa(module, query, key, value, None, **settings)
    rows = zip(*(torch.split(each, 1) for each in (query, key, value)), strict=True)
    return torch.cat(
        [_row(module, row, groups, **settings) for row, groups in zip(rows, segments.groups, strict=True)]
    ), None


def _row(module: torch.nn.Module, row: Sequence[Tensor], groups: Sequence[Group], **settings: Any) -> Tensor:
    """One row's attention. Split, and not sliced, so that its gradient is put together once."""
    sizes = [group.tokens for group in groups]
    pieces = zip(*(torch.split(each, sizes, dim=2) for each in row), strict=True)
    return torch.cat(
        [_group(module, piece, group, **settings) for piece, group in zip(pieces, groups, strict=True)],
        dim=1,
    )


def _group(module: torch.nn.Module, piece: Sequence[Tensor], group: Group, **settings: Any) -> Tensor:
    """One group's attention, computed at one of few widths."""
    if not group.padding:
        return _sdpa(module, *piece, group.mask, **settings)[0]
    filled = [functional.pad(each, (0, 0, 0, group.padding)) for each in piece]
    return _sdpa(module, *filled, group.mask, **settings)[0][:, : group.tokens]


def _sdpa(*inputs: Any, **settings: Any) -> tuple[Tensor, None]:
    return sdpa_attention_forward(*inputs, **settings)
