"""Random choices that depend on nothing but the seed and the sample: no state, nothing to save or restore.

So a step is the same to the bit whether its latents were cached, whether the run was resumed, and however its
samples were cut into micro-batches.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from tuneyard.diffusion.samples import Sample

Purpose = Literal["order", "noise", "timestep", "caption_dropout", "framing", "latent"]


class Draw(NamedTuple):
    """One sample of one step."""

    epoch: int
    """From 0."""
    position: int
    """In the samples that the order was made of."""
    repeat: int
    """Which time in this epoch, from 0."""


def generator(seed: int, draw: Draw, purpose: Purpose) -> torch.Generator:
    """A generator on the CPU for one choice about a sample of a step, independent of other purposes'."""
    text = f"{seed}:{draw.epoch}:{draw.position}:{draw.repeat}:{purpose}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


class SampleOrder:
    """Which samples each step takes: all of them once an epoch, as often as their repeats say, shuffled anew.

    An epoch sees as many class images as others: they are gone through again, or on in the next epoch. The
    order has no state: any step can be asked for.
    """

    def __init__(self, samples: Sequence[Sample], *, samples_per_step: int, seed: int) -> None:
        """Positions count in `samples`, instance and class images together."""
        self.samples_per_step = samples_per_step
        self._seed = seed
        self._instance, self._of_class = (
            [
                (position, repeat)
                for position, sample in enumerate(samples)
                if sample.is_class == is_class
                for repeat in range(sample.repeats)
            ]
            for is_class in (False, True)
        )
        self._epoch = -1
        self._order: list[Draw] = []

    def __len__(self) -> int:
        """How many samples an epoch has."""
        return len(self._instance) * (2 if self._of_class else 1)

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may have fewer samples than the others."""
        return -(-len(self) // self.samples_per_step)

    def step(self, number: int) -> list[Draw]:
        """The samples of a step, counted from 0 over all epochs."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._shuffled(epoch), epoch
        start = place * self.samples_per_step
        return self._order[start : start + self.samples_per_step]

    def _shuffled(self, epoch: int) -> list[Draw]:
        shown = [Draw(epoch, position, repeat) for position, repeat in self._instance]
        times = Counter[int]()
        for number in range(len(self._instance) if self._of_class else 0):
            position, _ = self._of_class[(epoch * len(self._instance) + number) % len(self._of_class)]
            shown.append(Draw(epoch, position, times[position]))
            times[position] += 1
        order = torch.randperm(len(shown), generator=generator(self._seed, Draw(epoch, 0, 0), "order"))
        return [shown[each] for each in order.tolist()]
