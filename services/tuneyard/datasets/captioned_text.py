"""Captions as text: how their bytes are read, and about how many tokens they are without a tokenizer.

A text encoder of Stable Diffusion reads 77 tokens and cuts off the rest. Which tokens those are is counted by
a run, whose base model has the tokenizer.
"""

import math
import re
from typing import NamedTuple

from tuneyard.datasets.codes import Code

MAX_TOKENS = 77
"""Of CLIP's text encoders, with the two that mark the beginning and the end."""
MAX_CAPTION_BYTES = 64 << 10
"""A longer file is no caption."""

# What CLIP's tokenizer takes apart before it looks for pieces of words: digits stand alone.
_PIECES = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_+")
_UNSEEN = dict.fromkeys(range(32)) | {ord(white): white for white in "\t\n\v\f\r"} | {0x7F: None}
_LONG_WORD = 9
"""Letters up to which a word is nearly always one token."""
_LETTERS_PER_TOKEN = 4
_CJK_START = "\u2e80"
_TOKENS_PER_CJK = 2.2
_TOKENS_PER_OTHER = 1.2
_TOKENS_PER_ASCII = 0.4


class Caption(NamedTuple):
    """A caption's text on one line, or the code and the words for why it cannot be used."""

    text: str = ""
    problem: Code | None = None
    detail: str = ""
    lines: int = 1
    """How many lines it was written in, blank ones aside."""


def read_caption(data: bytes) -> Caption:
    """The caption in a file; an empty one is no problem of its bytes, but has no text."""
    if len(data) > MAX_CAPTION_BYTES:
        seen = f"has {len(data)} bytes; a caption may have {MAX_CAPTION_BYTES}."
        return Caption(problem=Code.CAPTION_NOT_TEXT, detail=seen)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Caption(problem=Code.CAPTION_NOT_TEXT, detail=f"is not UTF-8 on line {line}.")
    if "\0" in text:
        return Caption(problem=Code.CAPTION_NOT_TEXT, detail="holds zero bytes.")
    return caption_of(text)


def caption_of(text: str) -> Caption:
    """The caption that a text is: its lines joined, white space made single, control characters left out."""
    # Escapes in JSON can spell halves of characters, which no tokenizer takes.
    whole = text.encode("utf-8", "replace").decode().translate(_UNSEEN)
    lines = [" ".join(line.split()) for line in whole.splitlines()]
    kept = [line for line in lines if line]
    return Caption(" ".join(kept), lines=max(1, len(kept)))


def estimated_tokens(text: str) -> int:
    """About how many tokens CLIP's tokenizer makes of a caption, with the marks of its beginning and end.

    Calibrated on English captions and prose, where it is mostly within a tenth; other scripts, which CLIP
    was not taught and spells out, are within a third.
    """
    tokens = 2.0
    for piece in _PIECES.findall(text.lower()):
        if not piece[0].isalpha():
            tokens += 1 if piece.isascii() else 2 * len(piece)
        elif piece.isascii():
            tokens += 1 + max(0, len(piece) - _LONG_WORD) // _LETTERS_PER_TOKEN
        else:
            cjk = sum(character >= _CJK_START for character in piece)
            ascii_letters = sum(character.isascii() for character in piece)
            others = len(piece) - cjk - ascii_letters
            tokens += max(
                1.0, _TOKENS_PER_CJK * cjk + _TOKENS_PER_OTHER * others + _TOKENS_PER_ASCII * ascii_letters
            )
    return math.ceil(tokens)
