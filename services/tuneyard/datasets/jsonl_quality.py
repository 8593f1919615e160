"""Looks at the text of usable examples: damage, empty phrases, things that do not belong into training data.

Each function sees one example; what shows only over many of them is found by the check itself.
"""

import re
from collections.abc import Iterator

from tuneyard.datasets.codes import Code
from tuneyard.datasets.jsonl_personal import personal_data, secrets
from tuneyard.datasets.jsonl_rules import Message, Parsed

VERY_LONG_CHARACTERS = 400_000
"""About 100,000 tokens: more than nearly every model that is fine-tuned can hold."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# UTF-8 read as Windows-1252 or Latin-1: a lead byte's character followed by those of continuation bytes.
_CONTINUATION = (
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201a"
    "\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
_MOJIBAKE = re.compile(
    f"[\u00c2-\u00df]{_CONTINUATION}|[\u00e0-\u00ef]{_CONTINUATION}{{2}}|[\u00f0-\u00f4]{_CONTINUATION}{{3}}"
)
_REPLACEMENT = "\ufffd"
_REPEATED_LEAST = 10
_BOILERPLATE_WITHIN = 160
_BOILERPLATE = (
    "as an ai language model",
    "as a large language model",
    "as an ai assistant, i ",
    "i'm sorry, but i can't",
    "i'm sorry, but i cannot",
    "i'm sorry, but as an ai",
    "i cannot fulfill",
    "i can't assist with that",
    "lorem ipsum",
    "[insert ",
    "[your answer",
    "<your answer",
    "your answer here",
)
# As in "(b)", "B." and "b)".
_AROUND_LETTERS = "()[].: "
# "None" and "n/a" are not among them: they are fair answers.
_PLACEHOLDERS = frozenset({"todo", "tbd", "nan", "undefined", "response"})


def note_text(parsed: Parsed, data: bytes) -> Iterator[tuple[Code, str]]:
    """What is remarkable about one example, as code and message; `data` is the record it was read from."""
    messages = parsed.messages
    text = "\n".join([content for _, content in messages])
    if parsed.unanswered:
        yield Code.LAST_TURN_UNANSWERED, "The last message is the user's."
    if len(text) > VERY_LONG_CHARACTERS:
        yield Code.EXAMPLE_VERY_LONG, f"The example has {len(text)} characters."
    # JSON allows these characters as escapes only, all but one.
    if (b"\\" in data or b"\x7f" in data) and (control := _CONTROL.search(text)):
        yield Code.CONTROL_CHARACTERS, f"The text holds the control character U+{ord(control[0]):04X}."
    if not text.isascii() and (damage := _encoding_damage(text)):
        yield Code.TEXT_ENCODING_DAMAGED, damage
    if kinds := personal_data(text):
        yield Code.PERSONAL_DATA_SUSPECTED, f"The text seems to hold {' and '.join(kinds)}."
    if kinds := secrets(text):
        yield Code.SECRET_SUSPECTED, f"The text seems to hold {' and '.join(kinds)}."
    if parsed.kind == "chat":
        yield from _note_turns(messages)


def is_letter(response: str) -> bool:
    """Whether a response is one letter alone; a digit is a number, and an ideograph is a word."""
    letters = response.strip(_AROUND_LETTERS)
    return len(letters) == 1 and letters.lower() != letters.upper()


def _encoding_damage(text: str) -> str:
    if _REPLACEMENT in text:
        return "The text holds U+FFFD, which stands for characters that were lost."
    for match in _MOJIBAKE.finditer(text):
        for encoding in ("cp1252", "latin-1"):
            try:
                match[0].encode(encoding).decode()
            except UnicodeError:
                continue
            return f"The text holds UTF-8 that was read as {encoding}, at character {match.start() + 1}."
    return ""


def _note_turns(messages: tuple[Message, ...]) -> Iterator[tuple[Code, str]]:
    asked = ""
    for role, content in messages:
        if role == "user":
            asked = content
            if not content or content.isspace():
                yield Code.PROMPT_EMPTY, "What the user says is empty."
        elif role == "assistant":
            yield from _note_response(content.strip(), asked.strip())


def _note_response(response: str, asked: str) -> Iterator[tuple[Code, str]]:
    start = response[:_BOILERPLATE_WITHIN].lower()
    if len(response) < 12 and (start.rstrip(".!") in _PLACEHOLDERS or not any(map(str.isalnum, response))):
        # Emoji and symbols answer some questions; punctuation alone does not.
        if start.rstrip(".!") in _PLACEHOLDERS or response.isascii():
            yield Code.RESPONSE_TRIVIAL, "A response is a placeholder or has neither letter nor digit."
    elif len(response) >= _REPEATED_LEAST and _is_repetitive(response):
        yield Code.RESPONSE_REPETITIVE, "A response repeats the same few characters or words."
    for phrase in _BOILERPLATE:
        if phrase in start:
            yield Code.RESPONSE_BOILERPLATE, f"A response begins with a phrase like {phrase.strip()!r}."
            break
    if len(response) >= 20 and response == asked:
        yield Code.RESPONSE_REPEATS_PROMPT, "A response is the same as what was asked."


def _is_repetitive(response: str) -> bool:
    if len(set(response[:40])) <= 2 and len(characters := set(response)) <= 2:
        # 1000000000 is a number.
        return not any(map(str.isdigit, characters))
    # Cheap to rule out: three words that come back at once.
    words = response[:400].split(None, 12)[:12]
    if len(words) < 12 or len(set(words)) > 2:
        return False
    every = response.split()
    return len(set(every)) <= 2
