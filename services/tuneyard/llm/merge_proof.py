"""Proves that a merged model computes what its base computes with the adapter, and measures the difference.

Both are run in fp32 from the files, one layer at a time: what differs is what merging rounded.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tuneyard.llm.merge_rows import ProofRows
from tuneyard.llm.streamed_model import streamed_model, with_adapter
from tuneyard.trainer.errors import RecipeError

_LEAST_AGREEMENT = {"F32": 0.99, "F64": 0.99, "BF16": 0.95, "F16": 0.95}
"""Of the most likely next tokens, by the number format that was rounded to: the less exact, the more often do
tokens of nearly equal likelihood change places."""
_LARGEST_SHARE = 0.5
"""Of the adapter's effect that rounding may take. More, and the merged model is nearer to its base."""
_TOKENS_AT_ONCE = 64
_SMALLEST_EFFECT = 1e-5
"""Below it the adapter changes nothing, and there is nothing to lose."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two models' logits differ at the same tokens."""

    max_logit_difference: float
    mean_logit_difference: float
    top1_agreement: float
    """The share of tokens after which both hold the same next token for the most likely."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A passed comparison."""

    difference: Difference
    """The merged model against base and adapter."""
    effect: Difference
    """The base alone against base and adapter: what the adapter does."""
    merged_logits: Tensor
    rows: int
    tokens: int
    source: str
    least_agreement: float

    @property
    def is_mostly_lost(self) -> bool:
        """Whether rounding took more of the adapter's effect than is good."""
        effect = self.effect.mean_logit_difference
        return effect > _SMALLEST_EFFECT and self.difference.mean_logit_difference > _LARGEST_SHARE * effect

    @property
    def facts(self) -> dict[str, Any]:
        """The values for the manifest."""
        return {
            **asdict(self.difference),
            "adapter_effect": asdict(self.effect),
            "rows": self.rows,
            "tokens": self.tokens,
            "row_source": self.source,
            "least_top1_agreement": self.least_agreement,
            "computed_in": "float32",
        }

    @property
    def summary(self) -> str:
        """One sentence for people."""
        return (
            f"On {self.tokens} tokens of {self.rows} {self.source} its logits differ from those of base and"
            f" adapter by at most {self.difference.max_logit_difference:.1e}, and"
            f" {self.difference.top1_agreement:.1%} of the most likely tokens are the same."
        )


def prove(
    *, base: Path, adapter: Path, merged: Path, rows: ProofRows, dtype: str, check: Callable[[], None]
) -> Proof:
    """Compares the folders' models on all rows; `dtype` is the merged weights', as safetensors names it.

    Raises RecipeError RECIPE_FAILED where they differ by more than rounding, NOT_SUPPORTED where the
    architecture cannot be run layer by layer, and what `check` raises.
    """
    tuned = with_adapter(streamed_model(base, check=check), adapter)
    expected = logits(tuned, rows)
    with tuned.disable_adapter():
        effect = compare(logits(tuned, rows), expected)
    found = logits(streamed_model(merged, check=check), rows)
    if not bool(found.isfinite().all()):
        raise _failed("its logits are not finite")
    difference = compare(found, expected)
    proof = Proof(
        difference=difference,
        effect=effect,
        merged_logits=found,
        rows=len(rows.ids),
        tokens=rows.tokens,
        source=rows.source,
        least_agreement=_LEAST_AGREEMENT.get(dtype, 0.95),
    )
    if difference.top1_agreement < proof.least_agreement:
        raise _failed(
            f"only {difference.top1_agreement:.1%} of the most likely tokens are the same, at least"
            f" {proof.least_agreement:.0%} should be; the logits differ by up to"
            f" {difference.max_logit_difference:.2g}"
        )
    if proof.is_mostly_lost and proof.least_agreement > 0.95:
        raise _failed("it is nearer to the base alone")
    return proof


@torch.inference_mode()
def logits(model: nn.Module, rows: ProofRows) -> Tensor:
    """A model's logits at the real tokens, (tokens, vocabulary), in fp32."""
    values: Tensor = model(input_ids=rows.ids, use_cache=False).logits
    return values[rows.real].float()


def compare(found: Tensor, expected: Tensor) -> Difference:
    """How far logits are from those expected; a few tokens at a time, so that no third copy is made."""
    largest = total = 0.0
    same = 0
    for start in range(0, len(found), _TOKENS_AT_ONCE):
        part = slice(start, start + _TOKENS_AT_ONCE)
        one, other = found[part], expected[part]
        off = (one - other).abs()
        largest = max(largest, off.max().item())
        total += off.sum(dtype=torch.float64).item()
        same += int((one.argmax(-1) == other.argmax(-1)).sum())
    return Difference(
        max_logit_difference=largest,
        mean_logit_difference=total / found.numel(),
        top1_agreement=same / len(found),
    )


def _failed(why: str) -> RecipeError:
    return RecipeError(
        f"The merged model is not what base and adapter are: {why}.",
        reason="RECIPE_FAILED",
        remedies=(
            "Use the adapter beside its base instead, which loses nothing.",
            "Where the base is stored in bfloat16 or float16, import it in float32 and merge into that.",
        ),
    )
