"""Measures a language model on held-out samples: loss, perplexity, accuracy of tokens. Changes nothing in it.

What it answers to prompts is `answers`' business.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.loss import LossSums, loss_sums
from tuneyard.llm.rows import Rows, Sample, micro_batches, pack
from tuneyard.recipes.precision import Precision
from tuneyard.trainer.oom import free_memory, is_out_of_memory

_PACKED_AT_ONCE = 512
"""Samples; so that a large split is never in memory as a whole."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured, over the tokens that carry loss."""

    loss: float
    """The mean over tokens, in nats."""
    token_accuracy: float
    """The share of tokens that were the likeliest in the model's eyes."""
    tokens: int

    @property
    def perplexity(self) -> float:
        """e to the loss."""
        return perplexity(self.loss)

    @property
    def metrics(self) -> dict[str, float]:
        """The values by their metrics' names."""
        return {
            "eval/loss": self.loss,
            "eval/perplexity": self.perplexity,
            "eval/token_accuracy": self.token_accuracy,
        }


def perplexity(loss: float) -> float:
    """e to a mean loss; infinite where that is no number a float can hold."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


class Evaluator:
    """Evaluates on one split, in micro-batches that fit the memory."""

    def __init__(
        self,
        samples: Sequence[Sample],
        config: LanguageModelConfig,
        *,
        pad_token: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._samples = samples
        self._config = config
        self._pad_token = pad_token
        self._precision = precision
        self._device = device
        self._batch_size = config.batch_size

    @torch.no_grad()
    def evaluate(self, model: nn.Module, *, should_stop: Callable[[], bool]) -> Evaluation | None:
        """The measured values, or None if a stop was asked for before the end. Leaves the model in eval
        mode.
        """
        model.eval()
        # Sums stay on the device: reading one would wait for it.
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        tokens = 0
        for start in range(0, len(self._samples), _PACKED_AT_ONCE):
            rows = self._rows(start)
            while rows:
                if should_stop():
                    return None
                piece = rows[: self._batch_size]
                found = self._scores_or_halve(model, piece)
                if found is not None:
                    rows = rows[len(piece) :]
                    tokens += found.tokens
                    sums += torch.stack([found.loss.double(), found.correct.double()])
        loss, accuracy = (sums / max(1, tokens)).tolist()
        return Evaluation(loss, accuracy, tokens)

    def _rows(self, start: int) -> list[Rows]:
        positions = range(start, min(start + _PACKED_AT_ONCE, len(self._samples)))
        return pack(
            [self._samples[position] for position in positions],
            max_length=self._config.max_length,
            packing=self._config.packing,
            pad_token=self._pad_token,
        )

    def _scores_or_halve(self, model: nn.Module, piece: list[Rows]) -> LossSums | None:
        try:
            (rows,) = micro_batches(piece, len(piece), pad_token=self._pad_token)
            return loss_sums(
                model, rows, precision=self._precision, device=self._device, method=self._config.method
            )
        except Exception as error:
            if not is_out_of_memory(error) or len(piece) == 1:
                raise
        self._batch_size = len(piece) // 2
        free_memory()
        return None
