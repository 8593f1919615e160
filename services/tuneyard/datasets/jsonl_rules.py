"""What a record must be to be an example: its layout, its keys, its roles; and the one form that recipes see.

Checker and recipes read through `parse` alone, so that exactly what the checker counted is trained on.
"""

import json
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from tuneyard.datasets.codes import Code
from tuneyard.datasets.jsonl_lines import MAX_RECORD_BYTES
from tuneyard.datasets.jsonl_personal import personal_data, secrets

Kind = Literal["chat", "text"]

_PROMPT_KEYS = ("instruction", "prompt")
_RESPONSE_KEYS = ("response", "output", "completion")
_MESSAGE_KEYS = ("messages", "conversations")
_KNOWN_KEYS = (*_MESSAGE_KEYS, *_PROMPT_KEYS, *_RESPONSE_KEYS, "text", "input", "system")
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
_JSON_NAMES = {dict: "an object", list: "a list", bool: "true or false", type(None): "null", str: "a string"}


class Message(NamedTuple):
    """One turn; `role` is "system", "user" or "assistant", or "text" for plain text."""

    role: str
    content: str


class Parsed(NamedTuple):
    """One usable example in normal form.

    A "chat" is an optional system message, then user and assistant in turns, ending with assistant. A "text"
    is one message of the role "text".
    """

    kind: Kind
    messages: tuple[Message, ...]
    layout: str
    """How it was written: "instruction", "prompt", "messages", "conversations", "from/value" or "text"."""
    ignored_keys: tuple[str, ...]
    unanswered: bool
    """Whether a last turn of the user's was left out."""


class NotAnExample(Exception):
    """A record that cannot be used; the message repeats none of its content but keys and roles."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse(data: bytes) -> Parsed:
    """The example that a record holds; raises `NotAnExample` and nothing else."""
    value = _object(data)
    for key in _MESSAGE_KEYS:
        if key in value:
            found = _conversation(value, key)
            break
    else:
        if any(key in value for key in (*_PROMPT_KEYS, *_RESPONSE_KEYS)):
            found = _pair(value)
        elif "text" in value:
            found = _text(value)
        else:
            raise NotAnExample(Code.KEYS_UNKNOWN, _unknown_keys(value))
    # Half of a surrogate pair can only be written with an escape; no tokenizer takes it.
    if b"\\u" in data:
        _refuse_lone_surrogates(found.messages)
    return found


def quoted(name: str) -> str:
    """A key or role for a message: shortened, and not at all if it holds what must not be repeated."""
    return "(a key that is not shown)" if personal_data(name) or secrets(name) else repr(name[:40])


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_RECORD_BYTES:
        raise NotAnExample(Code.LINE_TOO_LONG, f"The line is longer than {MAX_RECORD_BYTES} bytes.")
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        seen = f"Byte {error.start + 1} of the line is not UTF-8."
        raise NotAnExample(Code.LINE_NOT_UTF8, seen) from None
    except json.JSONDecodeError as error:
        seen = f"The line is not JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.pos + 1}."
        raise NotAnExample(Code.LINE_NOT_JSON, seen) from None
    except (RecursionError, ValueError):
        seen = "The line is JSON nested too deeply, or holds too long a number."
        raise NotAnExample(Code.LINE_NOT_JSON, seen) from None
    if type(value) is not dict:
        raise NotAnExample(Code.LINE_NOT_OBJECT, f"The line is {_named(value)}, not an object.")
    return value


def _text(value: dict[str, Any]) -> Parsed:
    text = _content(value["text"], "'text'")
    if not text or text.isspace():
        raise NotAnExample(Code.TEXT_EMPTY, "'text' is empty.")
    ignored = () if len(value) == 1 else tuple(key for key in value if key != "text")
    return Parsed("text", (Message("text", text),), "text", ignored, False)


def _pair(value: dict[str, Any]) -> Parsed:
    prompt_key = next((key for key in _PROMPT_KEYS if key in value), "")
    response_key = next((key for key in _RESPONSE_KEYS if key in value), "")
    if not prompt_key or not response_key:
        present, missing = (
            (response_key, "instruction' or 'prompt")
            if response_key
            else (prompt_key, "completion" if prompt_key == "prompt" else "response")
        )
        raise NotAnExample(Code.KEY_MISSING, f"There is {present!r} and no '{missing}'{_hint(value)}.")
    prompt, response = value[prompt_key], value[response_key]
    if type(prompt) is list and type(response) is list:
        return _dialogue(value, [*prompt, *response], "prompt", (prompt_key, response_key))
    user = _content(prompt, f"'{prompt_key}'")
    answer = _content(response, f"'{response_key}'")
    if more := _optional(value, "input"):
        user = f"{user}\n\n{more}" if user else more
    if not answer or answer.isspace():
        raise NotAnExample(Code.RESPONSE_EMPTY, f"'{response_key}' is empty.")
    system = _optional(value, "system")
    messages: tuple[Message, ...] = (Message("user", user), Message("assistant", answer))
    if system:
        messages = (Message("system", system), *messages)
    ignored: tuple[str, ...] = ()
    if len(value) > 2:
        used = (prompt_key, response_key, "input", "system")
        ignored = tuple(key for key in value if key not in used)
    return Parsed("chat", messages, prompt_key, ignored, False)


def _conversation(value: dict[str, Any], key: str) -> Parsed:
    turns = value[key]
    if type(turns) is not list:
        raise NotAnExample(Code.MESSAGE_MALFORMED, f"{key!r} is {_named(turns)}, not a list of messages.")
    if not turns:
        raise NotAnExample(Code.MESSAGES_EMPTY, f"{key!r} holds no message.")
    first = turns[0]
    layout = "from/value" if type(first) is dict and "from" in first else key
    return _dialogue(value, turns, layout, (key,))


def _dialogue(value: dict[str, Any], turns: list[Any], layout: str, keys: tuple[str, ...]) -> Parsed:
    messages = [_message(turn, number) for number, turn in enumerate(turns, 1)]
    if system := _optional(value, "system"):
        messages.insert(0, Message("system", system))
    _refuse_disorder(messages, first=len(turns) - len(messages) + 1)
    unanswered = messages[-1].role == "user"
    if unanswered:
        messages.pop()
    ignored: tuple[str, ...] = ()
    if len(value) > len(keys):
        ignored = tuple(key for key in value if key not in keys and key != "system")
    return Parsed("chat", tuple(messages), layout, ignored, unanswered)


def _message(turn: Any, number: int) -> Message:
    if type(turn) is not dict:
        raise NotAnExample(Code.MESSAGE_MALFORMED, f"Message {number} is {_named(turn)}, not an object.")
    if "role" in turn:
        role, content = turn["role"], turn.get("content", turn)
    elif "from" in turn:
        role, content = turn["from"], turn.get("value", turn)
    else:
        raise NotAnExample(Code.MESSAGE_MALFORMED, f"Message {number} has neither 'role' nor 'from'.")
    known = _ROLES.get(role) or _ROLES.get(role.lower()) if type(role) is str else None
    if known is None:
        shown = quoted(role) if type(role) is str else _named(role)
        raise NotAnExample(Code.ROLE_UNKNOWN, f"The role of message {number} is {shown}.")
    if content is turn:
        wanted = "content" if "role" in turn else "value"
        raise NotAnExample(Code.MESSAGE_MALFORMED, f"Message {number} has no '{wanted}'.")
    return Message(known, _content(content, f"The content of message {number}"))


def _refuse_disorder(messages: list[Message], *, first: int) -> None:
    """`first` is the number that the first message has in the file."""
    if not any(role == "assistant" for role, _ in messages):
        raise NotAnExample(Code.NO_ASSISTANT_TURN, "No message is the assistant's.")
    start = 1 if messages[0].role == "system" else 0
    for position, (role, content) in enumerate(messages):
        number = first + position
        if position >= start:
            if role == "system":
                raise NotAnExample(Code.SYSTEM_NOT_FIRST, f"Message {number} is of the role system.")
            if role != ("assistant" if (position - start) % 2 else "user"):
                after = messages[position - 1].role if position > start else "no user's message"
                raise NotAnExample(Code.ROLE_ORDER, f"Message {number} is of the role {role} after {after}.")
        if role == "assistant" and (not content or content.isspace()):
            raise NotAnExample(Code.RESPONSE_EMPTY, f"Message {number}, the assistant's, is empty.")


def _content(value: Any, where: str) -> str:
    if type(value) is str:
        return value
    if type(value) is list and value and all(map(_is_text_part, value)):
        return "".join(part["text"] for part in value)
    raise NotAnExample(Code.CONTENT_NOT_TEXT, f"{where} is {_named(value)}, not a string.")


def _is_text_part(part: Any) -> bool:
    return type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str


def _optional(value: dict[str, Any], key: str) -> str:
    given = value.get(key)
    return "" if given is None or given == "" else _content(given, f"'{key}'")


def _refuse_lone_surrogates(messages: tuple[Message, ...]) -> None:
    for message in messages:
        try:
            message.content.encode()
        except UnicodeEncodeError:
            seen = "The text holds half of a surrogate pair, which is no character."
            raise NotAnExample(Code.LINE_INVALID_UNICODE, seen) from None


def _unknown_keys(value: dict[str, Any]) -> str:
    if not value:
        return "The object is empty."
    shown = ", ".join(map(quoted, list(value)[:5]))
    return f"None of the keys is known{_hint(value)}: {shown}{', …' if len(value) > 5 else ''}."


def _hint(value: dict[str, Any]) -> str:
    """A likely misspelling among the keys."""
    for key in list(value)[:5]:
        if key not in _KNOWN_KEYS and (meant := _meant(key[:40].strip().lower())):
            return f" ({quoted(key)} may be meant as {meant!r})"
    return ""


@lru_cache(maxsize=1000)
def _meant(key: str) -> str:
    close = get_close_matches(key, _KNOWN_KEYS, 1, 0.8)
    return close[0] if close else ""


def _named(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a number")
