"""What a training's curves say, as the guide's troubleshooting reads them: judgments with their numbers.

Pure values and functions for every family: no torch, no run, no settings. A recipe keeps one `Curves` with
its checkpoints, hands it each loss, and asks the functions; what to change is the recipe's to say.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Any

WINDOW = 20
"""Steps whose mean or median counts as the loss of one moment: single batches vary too much."""
LEAST_STEPS = 100
"""Before so many steps nothing is said about a loss that does not fall, nor about slow data."""

_LEAST_STEPS_DIVERGING = 10
_MAX_BLOCKS = 64
_MAX_IMBALANCE = 5


@dataclass
class Curves:
    """The losses of one job so far, in constant room; its state goes into checkpoints."""

    steps: int = 0
    """Losses that were added; on an accelerator fewer than the steps made."""
    start: float = 0.0
    """The very first loss: that of weights which nothing has changed."""
    first: list[float] = field(default_factory=list)
    """The losses of the first window."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    level: float = 0.0
    """The median of the last window."""
    lowest: float = float("inf")
    """The least level so far."""
    blocks: list[float] = field(default_factory=list)
    """Means of consecutive steps, at most `_MAX_BLOCKS` of them."""
    evaluations: list[tuple[float, float]] = field(default_factory=list)
    """Of each evaluation: the mean training loss since the one before, and the validation loss."""
    told: list[str] = field(default_factory=list)
    """Kinds of advice that were given: a resumed run does not repeat them."""
    block_steps: int = WINDOW
    _block: list[float] = field(default_factory=list)
    _since_evaluation: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, loss: float) -> None:
        """One more training loss, which is finite."""
        if self.steps == 0:
            self.start = loss
        self.steps += 1
        self.recent.append(loss)
        if len(self.first) < WINDOW:
            self.first.append(loss)
        self.level = median(self.recent)
        if self.steps >= _LEAST_STEPS_DIVERGING:
            self.lowest = min(self.lowest, self.level)
        self._since_evaluation[0] += loss
        self._since_evaluation[1] += 1
        self._add_to_block(loss)

    def _add_to_block(self, loss: float) -> None:
        self._block.append(loss)
        if len(self._block) < self.block_steps:
            return
        self.blocks.append(fmean(self._block))
        self._block = []
        if len(self.blocks) == _MAX_BLOCKS:
            self.blocks = [fmean(pair) for pair in zip(self.blocks[::2], self.blocks[1::2], strict=True)]
            self.block_steps *= 2

    def evaluated(self, loss: float) -> None:
        """The validation loss after the steps so far; without a step since the last one it is no news."""
        total, count = self._since_evaluation
        if count:
            self.evaluations.append((total / count, loss))
            self._since_evaluation = [0.0, 0.0]

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return vars(self) | {"recent": list(self.recent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the state was taken; raises KeyError for anything else."""
        for name in vars(self):
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)
        self.recent = deque(state["recent"], maxlen=WINDOW)
        self.evaluations = [(train, validation) for train, validation in state["evaluations"]]


def is_sound(curves: Curves, *, chance: float = 0.0, least_start: float = 0.0) -> bool:
    """Whether the loss is where a training may stand: a checkpoint made now is worth going back to.

    Stricter than `divergence`, so that what is gone back to was made before the trouble began.
    """
    bound = 1.2 * max(curves.start, chance, least_start)
    return curves.level <= bound or curves.level <= 1.5 * curves.lowest


def divergence(curves: Curves, *, chance: float = 0.0, least_start: float = 0.0) -> str | None:
    """What shows that the training diverges: its loss is far above the least so far and above the start's.

    `chance` is the loss of guessing, where it is known (ln of the number of classes). A start below
    `least_start` counts as that: there are losses that are too low to be true at first.
    """
    level = curves.level
    if curves.steps < _LEAST_STEPS_DIVERGING or level <= 2 * curves.lowest:
        return None
    if level <= 1.5 * max(curves.start, chance, least_start):
        return None
    return (
        f"the training loss has risen to {level:.3g} (median of {len(curves.recent)} steps); it began at"
        f" {curves.start:.3g}, and its least was {curves.lowest:.3g}"
    )


class Cause(Enum):
    """Why a loss may not fall."""

    RATE_TOO_LOW = "rate_too_low"
    RATE_TOO_HIGH = "rate_too_high"
    DATA = "data"
    """The dataset, or what preprocessing makes of it."""


@dataclass(frozen=True)
class Stall:
    """A loss that does not fall: what was seen, and the cause that it speaks for."""

    cause: Cause
    observation: str


def stall(
    curves: Curves,
    *,
    rate: float,
    usual_rate: float,
    chance: float | None = None,
    least_start: float = 0.0,
) -> Stall | None:
    """Judges whether the loss falls at all, and if not, what the curve's shape speaks for.

    A loss below half of `chance` has fallen before the first steps were over. `rate` is the peak of the
    schedule, `usual_rate` the recommended one for this optimizer.
    """
    if curves.steps < LEAST_STEPS:
        return None
    # Medians: of a loss near zero, one hard batch makes the mean of its window.
    first, last = median(curves.first), curves.level
    # Steps that are far too large raise the loss at once: where it began is then the measure.
    shot_up = fmean(curves.first) > 1.5 * curves.start
    first = curves.start if shot_up else first
    if 1.1 * first < last < least_start:
        # It came up from a start that was too low to be true.
        return None
    if last <= 0.98 * first or (chance is not None and last < chance / 2):
        return None
    cause, words = _cause(curves, first, last, shot_up=shot_up, rate=rate, usual_rate=usual_rate)
    if cause is Cause.DATA and chance and abs(last - chance) < 0.1 * chance:
        words = f"that is the loss of guessing ({chance:.3g}), and {words}"
    return Stall(
        cause,
        f"The training loss was {first:.4g} at first and is {last:.4g} after {curves.steps} steps; {words}.",
    )


def _cause(
    curves: Curves, first: float, last: float, *, shot_up: bool, rate: float, usual_rate: float
) -> tuple[Cause, str]:
    """What speaks for which cause, the plainest signs first."""
    too_high = f"the learning rate of {rate:.2g} is too high"
    too_low = f"the learning rate of {rate:.2g} is too low"
    swing_first, swing = _swing(curves.first), _swing(list(curves.recent))
    if swing > 2 * swing_first and swing > 0.1 * last:
        jumps = f"from step to step it jumps by {swing:.2g} on average, at first by {swing_first:.2g}"
        return Cause.RATE_TOO_HIGH, f"{jumps}: {too_high}"
    if last > 1.1 * first:
        return Cause.RATE_TOO_HIGH, f"it has risen: {too_high}"
    if shot_up:
        rose = f"within the first {WINDOW} steps it rose to {max(curves.first):.3g}"
        return Cause.RATE_TOO_HIGH, f"{rose}: {too_high}"
    falling = _falling_share(curves.blocks)
    if falling >= 0.8:
        falls = (
            f"it falls steadily ({falling:.0%} of later stretches are below earlier ones) but hardly at all"
        )
        return Cause.RATE_TOO_LOW, f"{falls}: {too_low}"
    if rate < usual_rate / 10:
        return Cause.RATE_TOO_LOW, f"it shows no trend, and {too_low} beside the usual {usual_rate:.2g}"
    if rate > 10 * usual_rate:
        return Cause.RATE_TOO_HIGH, f"it shows no trend, and {too_high} beside the usual {usual_rate:.2g}"
    return Cause.DATA, (
        f"it shows no trend, though the learning rate of {rate:.2g} is a usual one: labels that do not belong"
        " to their samples, or samples that preprocessing spoils, look like this"
    )


def overfitting(evaluations: Sequence[tuple[float, float]]) -> str | None:
    """What shows that the training overfits: for three evaluations at least the validation loss has been
    above its best, and clearly so in the last two, while the training loss went on falling.

    `evaluations` are pairs of training and validation loss.
    """
    losses = [validation for _, validation in evaluations]
    if len(losses) < 4:
        return None
    best = losses.index(min(losses))
    passed = len(losses) - 1 - best
    (train_before, least), (train_now, now) = evaluations[best], evaluations[-1]
    # Beside where the loss began: a few per cent of one that came near zero are noise.
    rise = min(losses[-2:]) - least
    if passed < 3 or rise <= 0.05 * losses[0] or train_now > 0.98 * train_before:
        return None
    return (
        f"In the last {passed} evaluations the training loss fell from {train_before:.3g} to {train_now:.3g}"
        f" while the validation loss rose from {least:.3g} to {now:.3g}."
    )


def starvation(*, loading_seconds: float, step_seconds: float, steps: int) -> str | None:
    """What shows that the device waits for its data: of all steps' seconds, more than half were loading."""
    if steps < LEAST_STEPS or loading_seconds <= 0.5 * step_seconds:
        return None
    return (
        f"Of {1000 * step_seconds / steps:.3g} ms a step, {1000 * loading_seconds / steps:.3g} ms"
        f" ({loading_seconds / step_seconds:.0%}) go into preparing data: computing waits for it."
    )


def imbalance(counts: Mapping[str, int], *, unit: str) -> str | None:
    """What shows that classes are unequal: the most frequent has over five times as many as the rarest."""
    rare, frequent = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    if counts[frequent] <= _MAX_IMBALANCE * counts[rare]:
        return None
    return f"Class {frequent!r} has {counts[frequent]} {unit}, {rare!r} has {counts[rare]}."


def _swing(losses: Sequence[float]) -> float:
    """The mean difference from one step to the next."""
    return fmean(abs(after - before) for before, after in pairwise(losses))


def _falling_share(blocks: Sequence[float]) -> float:
    """Of all pairs of stretches, the share in which the later one is lower; 0 with too few to tell."""
    if len(blocks) < 5:
        return 0.0
    return fmean(later < earlier for earlier, later in combinations(blocks, 2))
