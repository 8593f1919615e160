"""How near an answer is to its reference, by its text: equal or not, and ROUGE-L. No model, no torch."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rapidfuzz.distance import LCSseq

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Scripts that put no spaces between words (Thai to Khmer, kana, Han): each character counts as one."""
_WORDS: Final = re.compile(f"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\\W_])+")


@dataclass(frozen=True)
class TextScore:
    """One answer's, or the mean over some answers."""

    exact_match: float
    rouge_l: float


def score_text(answer: str, reference: str) -> TextScore:
    """Compares an answer with its reference."""
    return TextScore(exact_match(answer, reference), rouge_l(answer, reference))


def mean(scores: Sequence[TextScore]) -> TextScore:
    """The mean over answers, of which there is at least one."""
    return TextScore(
        sum(each.exact_match for each in scores) / len(scores),
        sum(each.rouge_l for each in scores) / len(scores),
    )


def exact_match(answer: str, reference: str) -> float:
    """1 where both are the same text, white space at the ends apart; else 0."""
    return float(_trimmed(answer) == _trimmed(reference))


def rouge_l(answer: str, reference: str) -> float:
    """The F-measure of the longest common subsequence of words (Lin, ROUGE, 2004), from 0 to 1.

    Words are compared in lower case and without punctuation, as Google's rouge_score does without a stemmer,
    but of every script: that package keeps a to z and digits alone.
    """
    said, wanted = _words(answer), _words(reference)
    if not said or not wanted:
        return exact_match(answer, reference)
    common = LCSseq.similarity(said, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFC", text).lower())


def _trimmed(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
