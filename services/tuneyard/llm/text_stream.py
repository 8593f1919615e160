"""Turns tokens into text as they come: whole characters only, and nothing that a stop text may begin with."""

from collections.abc import Sequence
from typing import Any, Final

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one answer."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        """`stop` are texts that end the answer and do not belong to it."""
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._tokens: list[int] = []
        # Some decoders trim what comes first: new tokens are decoded behind those of the piece before them.
        self._context = 0
        self._told = 0
        self._held = ""
        self.is_stopped = False
        """Whether a stop text was met."""

    def add(self, token: int) -> str:
        """The text that has become certain; "" while a character or a stop text may be unfinished."""
        if self.is_stopped:
            return ""
        self._tokens.append(token)
        text = self._new_text()
        if not text or text.endswith(_REPLACEMENT):
            # The bytes so far are a part of a character.
            return ""
        self._context, self._told = self._told, len(self._tokens)
        return self._released(text)

    def rest(self) -> str:
        """What was held back, once the answer is at its end."""
        if self.is_stopped:
            return ""
        released = self._released(self._new_text())
        held, self._held = self._held, ""
        self._context, self._told = self._told, len(self._tokens)
        return released + held

    def _new_text(self) -> str:
        before = self._decoded(self._context, self._told)
        return self._decoded(self._context, len(self._tokens))[len(before) :]

    def _released(self, text: str) -> str:
        text, self._held = self._held + text, ""
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            return text[: min(found)]
        kept = max((_overlap(text, stop) for stop in self._stop), default=0)
        if kept:
            text, self._held = text[:-kept], text[-kept:]
        return text

    def _decoded(self, start: int, end: int) -> str:
        text: str = self._tokenizer.decode(
            self._tokens[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def _overlap(text: str, stop: str) -> int:
    """How many of the text's last characters are a stop text's first ones."""
    longest = min(len(text), len(stop) - 1)
    return next((count for count in range(longest, 0, -1) if text.endswith(stop[:count])), 0)
