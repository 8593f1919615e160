"""Chat templates at work: conversations become token ids, and a mask of what the assistant says.

The text comes from transformers' own sandboxed renderer, so that it is what every other tool makes of a
template. Where turns lie in it is found by `assistant_spans`; what is cut off and stored is `tokenizing`'s.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from jinja2 import Environment, nodes
from transformers.utils.chat_template_utils import render_jinja_template

from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.llm.assistant_spans import (
    Span,
    spans_by_prefixes,
    token_mask,
    with_ends,
)
from tuneyard.llm.builtin_templates import BUILTIN, DEFAULT
from tuneyard.llm.rows import Sample
from tuneyard.llm.template_guard import OutOfBounds, bounded
from tuneyard.trainer.errors import RecipeError

TrainOn = Literal["assistant", "all"]
Warn = Callable[[str, str], None]

FIELD = "language_model.chat_template"
_MARKED = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_MARK_BEGIN = re.compile(r"\{%([-+]?)\s*generation\s*([-+]?)%\}")
_MARK_END = re.compile(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}")
_SECONDS = 20.0
"""For a batch of conversations, which take milliseconds."""
_EXTRA_MEMORY_BYTES = 1 << 30
_MAX_GROWTH, _MAX_BASE_CHARACTERS = 16, 1 << 18
_PROBE = (Message("user", "How are you?"), Message("assistant", "Quite well."))
_PROBE_SYSTEM = "Answer in 9 words."


class Encoded(NamedTuple):
    """An example in tokens, not cut; without any where the template refused it."""

    sample: Sample
    refusal: str = ""
    unproven_turns: int = 0
    """Answers that are not trained on because the template writes them differently once others follow."""


@dataclass(frozen=True)
class _Rendered:
    text: str = ""
    spans: tuple[Span, ...] = ()
    ends_open: bool = False
    """Whether the template writes no token behind the last answer, so that one has to be added."""
    unproven_turns: int = 0
    refusal: str = ""


class ChatTemplate:
    """A chat template together with its tokenizer. Made by `chat_template`; may be shared by threads."""

    def __init__(self, tokenizer: Any, source: str, *, name: str, folds_system: bool = False) -> None:
        self.name = name
        """A built-in's name, or "tokenizer" for the tokenizer's own."""
        self.source = source
        """The template as jinja text."""
        self.folds_system = folds_system
        """Whether a system message is put before the first user's message, since the template takes none."""
        self._tokenizer = tokenizer
        self._is_marked = _MARKED.search(source) is not None
        self._begins_with_bos = begins_with_bos(tokenizer)
        self._tokens = _control_tokens(tokenizer)
        self.end_token = self._end_token()
        """The token that ends an answer, such as "<|im_end|>" or "</s>"; "" if there is none."""

    @property
    def portable_source(self) -> str:
        """The template without the marks of what is generated, which not every program knows."""
        source = _MARK_BEGIN.sub(r"{%\1 if true \2%}", self.source)
        return _MARK_END.sub(r"{%\1 endif \2%}", source)

    @property
    def fingerprint(self) -> str:
        """Changes with everything that this makes of the same tokenizer's tokens."""
        facts = (self.source, str(self.folds_system), str(self._begins_with_bos))
        return hashlib.sha256("\x00".join(facts).encode()).hexdigest()

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the model is to go on from: a conversation that ends with the user's message.

        A single message of the role "text" is plain text to be continued. Raises RecipeError.
        """
        if messages[0].role == "text":
            return self._text_ids(messages[0].content)
        return self._ids(self.prompt_text(messages))

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """What `prompt` makes tokens of."""
        try:
            with bounded(seconds=_SECONDS):
                return self._text(self._folded(messages), True)
        except OutOfBounds as error:
            raise _unusable(f"The chat template {error}") from None
        except Exception as error:
            raise _unusable(f"The chat template refuses the conversation: {_said(error)}") from None

    def tokenize(self, example: Example, *, train_on: TrainOn = "assistant") -> Encoded:
        """One example; see `encode`."""
        return self.encode([example], train_on=train_on)[0]

    def encode(self, examples: Sequence[Example], *, train_on: TrainOn = "assistant") -> list[Encoded]:
        """Examples in tokens, not cut; plain texts are trained on whole, conversations by `train_on`.

        What the template refuses is told in the result. Raises RecipeError where the template is unusable.
        """
        return self._to_tokens(examples, self._render_all(examples), train_on=train_on)

    def prompts_hold(self, example: Example) -> bool:
        """Whether the tokens before each answer are those of that text alone, as the model is prompted."""
        (rendered,) = self._render_all([example])
        ids = self._to_tokens([example], [rendered], train_on="all")[0].sample.ids.tolist()
        prompts = [self._ids(rendered.text[:begin]) for begin, _ in rendered.spans]
        return all(ids[: len(prompt)] == prompt for prompt in prompts)

    def holds_control_token(self, messages: Sequence[Message]) -> bool:
        """Whether a message spells a control token, which the tokenizer then takes for one."""
        return any(self._tokens.search(message.content) for message in messages)

    def _render_all(self, examples: Sequence[Example]) -> list[_Rendered]:
        try:
            # Nothing else runs meanwhile that allocates much: tokenizing comes afterwards.
            with bounded(seconds=_SECONDS, extra_memory_bytes=_EXTRA_MEMORY_BYTES):
                return [self._rendered(example) for example in examples]
        except OutOfBounds as error:
            raise _unusable(f"The chat template {error}") from None

    def _to_tokens(
        self, examples: Sequence[Example], rendered: Sequence[_Rendered], *, train_on: TrainOn
    ) -> list[Encoded]:
        chats = [number for number, example in enumerate(examples) if example.kind == "chat"]
        tokenized = self._tokenized([rendered[number] for number in chats], train_on)
        found = dict(zip(chats, tokenized, strict=True))
        return [
            found[number] if number in found else Encoded(_all_trained(self._text_ids(each.text, ended=True)))
            for number, each in enumerate(rendered)
        ]

    def _rendered(self, example: Example) -> _Rendered:
        if example.kind == "text":
            return _Rendered(example.messages[0].content)
        messages = self._folded(example.messages)
        try:
            if self._is_marked:
                text, spans, unproven = *self._marked(messages), 0
            else:
                text = self._text(messages, False)
                spans, unproven = spans_by_prefixes(self._text, messages, text, self._tokens)
        except (OutOfBounds, MemoryError):
            raise
        except Exception as error:  # a template may raise whatever it likes
            return _Rendered(refusal=_said(error))
        ended, ending = with_ends(spans, text, self._tokens)
        if ended and not ending:
            # The end of the text is added right behind the answer, where the model is to learn it.
            text = text[: ended[-1][1]]
        return _Rendered(text, tuple(ended), ends_open=not ending, unproven_turns=unproven)

    def _marked(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        (text,), (spans,) = self._render(messages, False, return_assistant_tokens_mask=True)
        return text, [(begin, end) for begin, end in spans if end > begin]

    def _text(self, messages: Sequence[Message], for_answer: bool) -> str:
        (text,), _ = self._render(messages, for_answer)
        return text

    def _render(
        self, messages: Sequence[Message], for_answer: bool, **settings: bool
    ) -> tuple[list[str], list[list[Span]]]:
        variables: dict[str, Any] = {**self._tokenizer.special_tokens_map, **settings}
        found: Any = render_jinja_template(
            [[{"role": message.role, "content": message.content} for message in messages]],
            chat_template=self.source,
            add_generation_prompt=for_answer,
            **variables,
        )
        given = sum(len(message.content) for message in messages)
        if len(found[0][0]) > _MAX_GROWTH * given + _MAX_BASE_CHARACTERS:
            raise OutOfBounds("makes far more text than it is given")
        texts, spans = found
        return texts, spans

    def _folded(self, messages: Sequence[Message]) -> Sequence[Message]:
        if not self.folds_system or messages[0].role != "system":
            return messages
        system, first, *others = messages
        together = "\n\n".join(part for part in (system.content, first.content) if part)
        return [Message(first.role, together), *others]

    def _tokenized(self, rendered: Sequence[_Rendered], train_on: TrainOn) -> list[Encoded]:
        if not rendered:
            return []
        texts = [each.text for each in rendered]
        is_fast = bool(self._tokenizer.is_fast)
        found = self._tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=is_fast,
            verbose=False,
        )
        offsets = found["offset_mapping"] if is_fast else [None] * len(texts)
        return [
            self._encoded(each, ids, places, train_on)
            for each, ids, places in zip(rendered, found["input_ids"], offsets, strict=True)
        ]

    def _encoded(
        self, rendered: _Rendered, ids: list[int], offsets: list[Span] | None, train_on: TrainOn
    ) -> Encoded:
        if rendered.refusal:
            return Encoded(_all_trained([]), rendered.refusal)
        if offsets is None:
            offsets = self._offsets_by_prefixes(rendered, ids)
        mask = token_mask(rendered.spans, offsets, len(rendered.text))
        if rendered.ends_open and self._tokenizer.eos_token_id is not None:
            ids = [*ids, int(self._tokenizer.eos_token_id)]
            mask = np.append(mask, bool(rendered.spans))
        if train_on == "all":
            mask[:] = True
        mask[:1] = False
        return Encoded(
            Sample(np.array(ids, dtype=np.int32), mask),
            unproven_turns=rendered.unproven_turns,
        )

    def _offsets_by_prefixes(self, rendered: _Rendered, ids: list[int]) -> list[Span]:
        """Characters of tokens, exact to the spans' borders, from a tokenizer that does not tell them."""
        borders = sorted({0, len(rendered.text), *(border for span in rendered.spans for border in span)})
        offsets: list[Span] = []
        for begin, end in pairwise(borders):
            before = self._ids(rendered.text[:end])
            if ids[: len(before)] != before:
                raise RecipeError(
                    "The base model's tokenizer does not tell which characters a token stands for, and "
                    "merges the begin or end of an answer with what is beside it.",
                    reason="NOT_SUPPORTED",
                    remedies=("Use a base model with a tokenizer.json, or train_on: all.",),
                )
            offsets += [(begin, end)] * (len(before) - len(offsets))
        return offsets

    def _ids(self, text: str) -> list[int]:
        found = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return [int(token) for token in found]

    def _text_ids(self, text: str, *, ended: bool = False) -> list[int]:
        """A plain text's tokens, begun as the tokenizer begins texts; `ended`: with the end of the text.

        A text that spells these tokens itself does not get them twice.
        """
        ids, begin, end = self._ids(text), self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self._begins_with_bos and ids[:1] != [begin]:
            ids.insert(0, int(begin))
        if ended and end is not None and ids[-1:] != [end]:
            ids.append(int(end))
        return ids

    def _end_token(self) -> str:
        """Found on a small conversation; raises RecipeError where the template cannot even do that."""
        rendered = self._render_all([Example("chat", _PROBE, "", 0, "train")])[0]
        if rendered.refusal:
            raise _unusable(f"The chat template refuses a plain conversation: {rendered.refusal}")
        if rendered.ends_open or not rendered.spans:
            return self._tokenizer.eos_token or ""
        said = rendered.text[slice(*rendered.spans[-1])]
        return [found[0] for found in self._tokens.finditer(said)][-1]

    def takes_system(self) -> bool:
        """Whether a system message is accepted and comes through."""
        messages = (Message("system", _PROBE_SYSTEM), *_PROBE)
        rendered = self._render_all([Example("chat", messages, "", 0, "train")])[0]
        return not rendered.refusal and _PROBE_SYSTEM in rendered.text


def chat_template(
    tokenizer: Any, name: str = "", *, recommended: str = "", warn: Warn = lambda code, message: None
) -> ChatTemplate:
    """The built-in template of a name, or else the tokenizer's own, or else the recommended or default one.

    Raises RecipeError INVALID_FIELD for an unknown name, or for a template that cannot be used.
    """
    source = "" if name else _own(tokenizer)
    if source:
        _refuse_unbounded(source)
        chosen = "tokenizer"
    else:
        chosen = name or (recommended if recommended in BUILTIN else DEFAULT)
        source = _builtin(tokenizer, chosen, warn)
        if not name:
            warn("chat_template_missing", _missing(chosen))
    template = ChatTemplate(tokenizer, source, name=chosen)
    if not template.takes_system():
        template = ChatTemplate(tokenizer, source, name=chosen, folds_system=True)
    if not template.end_token:
        seen = "The tokenizer has no end-of-sequence token: answers are trained without an end."
        warn("end_token_missing", seen)
    return template


def begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its begin-of-sequence token before a text by itself."""
    ids = tokenizer("a", verbose=False)["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _own(tokenizer: Any) -> str:
    """The tokenizer's own template; the one named "default" where it has several; "" without any."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default", "")
    return own or ""


def _builtin(tokenizer: Any, name: str, warn: Warn) -> str:
    if name not in BUILTIN:
        raise _unusable(f"There is no chat template {name!r}")
    builtin = BUILTIN[name]
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in builtin.control_tokens if token not in vocabulary]:
        seen = (
            f"The tokenizer has no token {', '.join(missing)}, so that the chat template {name!r} writes "
            "them as plain text. A template made for this model suits it better."
        )
        warn("control_tokens_missing", seen)
    return builtin.source(begins_with_bos=begins_with_bos(tokenizer))


def _refuse_unbounded(source: str) -> None:
    """Raises RecipeError for what is no template, or holds a power: one of huge numbers takes for ever."""
    try:
        with bounded(seconds=_SECONDS, extra_memory_bytes=_EXTRA_MEMORY_BYTES):
            extensions = ["jinja2.ext.loopcontrols"]
            plain = _MARK_END.sub("{% endif %}", _MARK_BEGIN.sub("{% if true %}", source))
            parsed = Environment(extensions=extensions, autoescape=False).parse(plain)
            has_power = parsed.find(nodes.Pow) is not None
    except OutOfBounds as error:
        raise _unusable(f"The base model's chat template {error} to read") from None
    except Exception as error:
        raise _unusable(f"The base model's chat template cannot be read: {_said(error)}") from None
    if has_power:
        raise _unusable("The base model's chat template computes powers, which are not bounded")


def _control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches what the tokenizer takes for a control token, wherever it stands; never white space."""
    special = {str(token) for token in tokenizer.all_special_tokens}
    special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(
        (token for token in special if token.strip()), key=lambda token: (-len(token), token)
    )
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _all_trained(ids: Sequence[int]) -> Sample:
    mask = np.ones(len(ids), dtype=np.bool_)
    mask[:1] = False
    return Sample(np.array(ids, dtype=np.int32), mask)


def _said(error: Exception) -> str:
    """What a template's error says, on one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _missing(chosen: str) -> str:
    return (
        f"The tokenizer brings no chat template: conversations are written as the built-in template "
        f"{chosen!r} does. Whoever uses the model has to write prompts the same way; the template is saved "
        "with the tokenizer."
    )


def _unusable(message: str) -> RecipeError:
    names = ", ".join(BUILTIN)
    return RecipeError(
        f"{message}.",
        reason="INVALID_FIELD",
        remedies=(f"Name a built-in template in {FIELD}: {names}.",),
    )
