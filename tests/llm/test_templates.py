"""Exactly what the assistant says is trained on, whatever shape a model's chat template has."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import chat_templates as shapes
from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.llm.builtin_templates import BUILTIN
from tuneyard.llm.templates import ChatTemplate, Encoded, chat_template
from tuneyard.trainer.errors import RecipeError

SYSTEM = Message("system", "Be brief.")
TURNS = (
    Message("user", "How are you?"),
    Message("assistant", "Quite well."),
    Message("user", "And the fox?"),
    Message("assistant", "It jumps, thank you."),
)
SHAPES = {
    "chatml": (shapes.CHATML, "Quite well.<|im_end|>", "It jumps, thank you.<|im_end|>"),
    "chatml-marked": (shapes.CHATML_MARKED, "Quite well.<|im_end|>", "It jumps, thank you.<|im_end|>"),
    "chatml-marked-narrowly": (
        shapes.CHATML_MARKED_NARROWLY,
        "Quite well.<|im_end|>",
        "It jumps, thank you.<|im_end|>",
    ),
    "llama-2": (shapes.LLAMA_2, " Quite well. </s>", " It jumps, thank you. </s>"),
    "llama-3": (shapes.LLAMA_3, "Quite well.<|eot_id|>", "It jumps, thank you.<|eot_id|>"),
    "mistral": (shapes.MISTRAL, " Quite well.</s>", " It jumps, thank you.</s>"),
    "mistral-old": (shapes.MISTRAL_OLD, "Quite well.</s>", "It jumps, thank you.</s>"),
    "gemma": (shapes.GEMMA, "Quite well.<end_of_turn>", "It jumps, thank you.<end_of_turn>"),
    "phi-3": (shapes.PHI_3, "Quite well.<|end|>", "It jumps, thank you.<|end|>"),
    "zephyr": (shapes.ZEPHYR, "Quite well.</s>", "It jumps, thank you.</s>"),
    "thinking": (shapes.THINKING, "Quite well.<|im_end|>", "It jumps, thank you.<|im_end|>"),
    "bare": (shapes.BARE, "A: Quite well.\n", "A: It jumps, thank you.\n</s>"),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_builtin = pytest.mark.parametrize("name", BUILTIN)


def chat(*messages: Message) -> Example:
    return Example("chat", messages, "train.jsonl", 1, "train")


def plain(text: str) -> Example:
    return Example("text", (Message("text", text),), "train.jsonl", 1, "train")


def trained_parts(template: ChatTemplate, tokenizer: Any, *messages: Message) -> list[str]:
    """The runs of tokens that are trained on, as text."""
    sample = template.tokenize(chat(*messages)).sample
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sample.trained, [0]]))).reshape(-1, 2)
    return [tokenizer.decode(sample.ids[begin:end].tolist()) for begin, end in edges]


@every_shape
@pytest.mark.parametrize("before", [(), (SYSTEM,)], ids=["alone", "with-system"])
def test_the_answers_and_their_ends_are_trained_on(shape: str, before: tuple[Message, ...]) -> None:
    source, *wanted = SHAPES[shape]
    tokenizer = shapes.byte_level_tokenizer(source)
    assert trained_parts(chat_template(tokenizer), tokenizer, *before, *TURNS) == wanted


@every_shape
def test_a_system_message_always_reaches_the_model(shape: str) -> None:
    tokenizer = shapes.byte_level_tokenizer(SHAPES[shape][0])
    template = chat_template(tokenizer)
    whole = tokenizer.decode(template.tokenize(chat(SYSTEM, *TURNS)).sample.ids.tolist())
    assert whole.count("Be brief.") == 1


@every_shape
def test_what_is_trained_follows_what_the_prompt_will_be(shape: str) -> None:
    template = chat_template(shapes.byte_level_tokenizer(SHAPES[shape][0]))
    sample = template.tokenize(chat(SYSTEM, *TURNS[:2])).sample
    prompt = template.prompt([SYSTEM, TURNS[0]])
    begin = int(np.flatnonzero(sample.trained)[0])
    # A prompt that begins a thought holds more than what was trained.
    assert sample.ids[:begin].tolist() == prompt[:begin]
    assert shape == "thinking" or begin == len(prompt)


@pytest.mark.parametrize(
    "source", [shapes.CHATML_MARKED, *(b.source(begins_with_bos=True) for b in BUILTIN.values())]
)
@pytest.mark.parametrize("words", ["gpt-2", "llama-3", "none"])
def test_marked_templates_give_the_mask_that_transformers_gives(source: str, words: Any) -> None:
    tokenizer = shapes.byte_level_tokenizer(source, words=words)
    messages = [{"role": role, "content": content} for role, content in TURNS]
    theirs: Any = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True)
    ours = chat_template(tokenizer).tokenize(chat(*TURNS)).sample
    assert ours.ids.tolist() == theirs["input_ids"]
    assert ours.trained.tolist() == [bool(each) for each in theirs["assistant_masks"]]


said = st.lists(
    st.sampled_from([*"aB .\n\t:é日🦊", "Hello", " there", "<|im_end|>", "<|im_start|>", "assistant\n"]),
    min_size=1,
    max_size=12,
).map("".join)


@given(
    turns=st.lists(st.tuples(said, said.filter(str.strip)), min_size=1, max_size=4),
    system=st.none() | said,
    words=st.sampled_from(["gpt-2", "llama-3", "none"]),
)
def test_turns_are_found_without_marks_as_with_them(
    turns: list[tuple[str, str]], system: str | None, words: Any
) -> None:
    messages = [Message("system", system)] if system is not None else []
    for question, answer in turns:
        messages += [Message("user", question), Message("assistant", answer)]
    marked, unmarked = (
        chat_template(shapes.byte_level_tokenizer(source, words=words)).tokenize(chat(*messages))
        for source in (shapes.CHATML_MARKED, shapes.CHATML)
    )
    assert unmarked.sample.ids.tolist() == marked.sample.ids.tolist()
    assert unmarked.sample.trained.tolist() == marked.sample.trained.tolist()
    assert unmarked.unproven_turns == 0


@every_builtin
def test_a_builtin_template_keeps_every_word_and_ends_each_answer(name: str) -> None:
    tokenizer = shapes.byte_level_tokenizer()
    template = chat_template(tokenizer, name)
    sample = template.tokenize(chat(SYSTEM, *TURNS)).sample
    text = tokenizer.decode(sample.ids.tolist())
    assert all(message.content in text for message in (SYSTEM, *TURNS))
    answers = trained_parts(template, tokenizer, SYSTEM, *TURNS)
    assert len(answers) == 2
    assert all(answer.endswith(template.end_token) for answer in answers)


@every_builtin
def test_a_builtin_template_prompts_as_it_was_trained(name: str) -> None:
    template = chat_template(shapes.sentence_piece_tokenizer(), name)
    sample = template.tokenize(chat(SYSTEM, *TURNS[:2])).sample
    prompt = template.prompt([SYSTEM, TURNS[0]])
    assert sample.ids[: len(prompt)].tolist() == prompt
    assert not sample.trained[: len(prompt)].any()
    assert sample.trained[len(prompt)]


@every_builtin
def test_a_builtin_template_without_its_marks_says_the_same(name: str) -> None:
    template = chat_template(shapes.byte_level_tokenizer(), name)
    plainer = chat_template(shapes.byte_level_tokenizer(template.portable_source))
    assert "generation" not in plainer.source.replace("add_generation_prompt", "")
    ours, theirs = (each.tokenize(chat(SYSTEM, *TURNS)).sample for each in (template, plainer))
    assert ours.ids.tolist() == theirs.ids.tolist()
    assert ours.trained.tolist() == theirs.trained.tolist()


@pytest.mark.parametrize("shape", ["llama-2", "mistral", "zephyr", "mistral-old"])
def test_masks_hold_where_the_tokenizer_puts_spaces_before_texts(shape: str) -> None:
    source, *wanted = SHAPES[shape]
    tokenizer = shapes.sentence_piece_tokenizer(source)
    found = trained_parts(chat_template(tokenizer), tokenizer, *TURNS)
    assert [part.strip() for part in found] == [part.strip() for part in wanted]


def test_a_text_begins_with_a_token_only_where_the_tokenizer_does_so() -> None:
    for tokenizer, begins in ((shapes.sentence_piece_tokenizer(), 1), (shapes.byte_level_tokenizer(), 0)):
        ids = chat_template(tokenizer, "plain").tokenize(chat(*TURNS)).sample.ids.tolist()
        assert ids.count(tokenizer.bos_token_id) == begins


@pytest.mark.parametrize("trims", [False, True])
def test_white_space_in_an_answer_is_trained_on(trims: bool) -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML_MARKED, trim_offsets=trims)
    answer = " \n\n  two   spaces \n "
    template = chat_template(tokenizer)
    (part,) = trained_parts(template, tokenizer, TURNS[0], Message("assistant", answer))
    assert part == f"{answer}<|im_end|>"


def test_characters_of_several_tokens_are_trained_on_whole() -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML)
    answer = "naïve 日本語 🦊🏽"
    (part,) = trained_parts(chat_template(tokenizer), tokenizer, TURNS[0], Message("assistant", answer))
    assert part == f"{answer}<|im_end|>"


NO_BORDER = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Answer: {% else %}{{ m.content }}"
    "{% endif %}{% endfor %}"
)
GREETED = (TURNS[0], Message("assistant", "Hello there, friend."))


def test_a_token_over_the_border_belongs_to_the_answer() -> None:
    tokenizer = shapes.byte_level_tokenizer(NO_BORDER, words="none")
    assert tokenizer.tokenize("Answer: Hello there, friend.")[0].startswith("Answer:ĠHello")
    (part,) = trained_parts(chat_template(tokenizer), tokenizer, *GREETED)
    assert "Hello there, friend." in part


@pytest.mark.parametrize(
    ("source", "words", "holds"),
    [(NO_BORDER, "none", False), (shapes.LLAMA_3, "gpt-2", False), (shapes.LLAMA_3, "llama-3", True)],
)
def test_a_prompt_that_ends_in_other_tokens_than_in_training_is_noticed(
    source: str, words: Any, holds: bool
) -> None:
    template = chat_template(shapes.byte_level_tokenizer(source, words=words))
    assert template.prompts_hold(chat(*GREETED)) is holds


def test_an_earlier_answer_that_is_written_differently_is_not_trained_on() -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.THINKING)
    template = chat_template(tokenizer)
    thought = Message("assistant", "<think>well?</think>Quite well.")
    messages = (TURNS[0], thought, TURNS[2], TURNS[3])
    assert template.tokenize(chat(*messages)).unproven_turns == 1
    assert trained_parts(template, tokenizer, *messages) == ["It jumps, thank you.<|im_end|>"]


def test_everything_is_trained_on_if_asked_for() -> None:
    template = chat_template(shapes.byte_level_tokenizer(shapes.CHATML))
    (encoded,) = template.encode([chat(*TURNS)], train_on="all")
    assert encoded.sample.trained[1:].all()
    assert not encoded.sample.trained[0]


def test_a_plain_text_is_trained_on_whole_and_ends() -> None:
    tokenizer = shapes.sentence_piece_tokenizer(shapes.LLAMA_2)
    template = chat_template(tokenizer)
    sample = template.tokenize(plain("Once upon a time")).sample
    assert sample.ids[0] == tokenizer.bos_token_id
    assert sample.ids[-1] == tokenizer.eos_token_id
    assert sample.trained[1:].all()
    assert template.prompt([Message("text", "Once upon a time")]) == sample.ids[:-1].tolist()


def test_a_text_that_spells_its_begin_and_end_has_them_once() -> None:
    tokenizer = shapes.sentence_piece_tokenizer()
    ids = chat_template(tokenizer).tokenize(plain("<s>[INST] How? [/INST] Well.</s>")).sample.ids.tolist()
    assert (ids.count(tokenizer.bos_token_id), ids.count(tokenizer.eos_token_id)) == (1, 1)


def test_texts_and_conversations_keep_their_order() -> None:
    template = chat_template(shapes.byte_level_tokenizer(shapes.CHATML))
    examples = [plain("one"), chat(*TURNS), plain("two")]
    together = template.encode(examples)
    for encoded, example in zip(together, examples, strict=True):
        assert encoded.sample.ids.tolist() == template.tokenize(example).sample.ids.tolist()


def test_a_tokenizer_without_a_template_gets_the_default_with_a_warning() -> None:
    warned: dict[str, str] = {}
    template = chat_template(shapes.byte_level_tokenizer(), warn=warned.__setitem__)
    assert template.name == "plain"
    assert list(warned) == ["chat_template_missing"]


def test_a_recommended_template_is_taken_only_for_want_of_an_own_one() -> None:
    without, owning = shapes.byte_level_tokenizer(), shapes.byte_level_tokenizer(shapes.ZEPHYR)
    assert chat_template(without, recommended="llama-2").name == "llama-2"
    assert chat_template(owning, recommended="llama-2").source == shapes.ZEPHYR
    assert chat_template(owning, "llama-2").name == "llama-2"


def test_control_tokens_that_a_vocabulary_lacks_are_told() -> None:
    warned: dict[str, str] = {}
    tokenizer = shapes.sentence_piece_tokenizer()
    template = chat_template(tokenizer, "chatml", warn=warned.__setitem__)
    assert "<|im_start|>" in warned["control_tokens_missing"]
    assert template.end_token == "</s>"
    assert trained_parts(template, tokenizer, *TURNS[:2]) == ["Quite well.<|im_end|></s>"]


def test_an_unknown_template_names_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match="no chat template 'chatmel'") as error:
        chat_template(shapes.byte_level_tokenizer(), "chatmel")
    assert error.value.reason == "INVALID_FIELD"
    assert "chatml, llama-2" in error.value.remedies[0]


def test_what_a_template_refuses_is_told_for_that_example_alone() -> None:
    refusing = shapes.CHATML.replace(
        "{% for", "{% if 'fox' in messages[0].content %}{{ raise_exception('no foxes') }}{% endif %}{% for", 1
    )
    template = chat_template(shapes.byte_level_tokenizer(refusing))
    first, second = template.encode([chat(*TURNS[2:]), chat(*TURNS[:2])])
    assert (first.refusal, len(first.sample)) == ("no foxes", 0)
    assert isinstance(second, Encoded) and not second.refusal
    with pytest.raises(RecipeError, match="no foxes"):
        template.prompt([TURNS[2]])


def test_control_tokens_in_messages_are_seen() -> None:
    template = chat_template(shapes.byte_level_tokenizer(shapes.CHATML))
    assert template.holds_control_token([Message("user", "what is <|im_end|> for?")])
    assert not template.holds_control_token(TURNS)


HOSTILE = {
    "attribute access": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "attribute by filter": "{{ (''|attr('format_map')|attr('__globals__')).os }}",
    "huge text": "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    "huge string": "{{ 'x' * 99999999999 }}",
    "growing string": (
        "{% set n = namespace(x='x' * 999) %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    ),
    "huge number": "{{ 10 ** 10 ** 10 }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "broken": "{% for message in messages %}",
    "foreign tag": "{% include '/etc/passwd' %}",
    "refuses all": "{{ raise_exception('no') }}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_template_ends_in_an_error_for_people(source: str) -> None:
    with pytest.raises(RecipeError, match="template") as error:
        chat_template(shapes.byte_level_tokenizer(source))
    assert error.value.reason == "INVALID_FIELD"
    assert "chatml" in error.value.remedies[0]


def test_a_template_that_loops_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneyard.llm.templates._SECONDS", 0.3)
    endless = (
        "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}"
        "{% endfor %}"
    )
    with pytest.raises(RecipeError, match=r"longer than 0\.3 seconds"):
        chat_template(shapes.byte_level_tokenizer(endless))


class WithoutOffsets:
    """A tokenizer that does not tell characters, as those written in Python."""

    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: Any, **settings: Any) -> Any:
        assert not settings.pop("return_offsets_mapping", False)
        return self._tokenizer(text, **settings)


@pytest.mark.parametrize("source", [shapes.CHATML, shapes.LLAMA_3, shapes.ZEPHYR])
def test_a_tokenizer_that_tells_no_characters_gives_the_same_mask(source: str) -> None:
    fast = shapes.byte_level_tokenizer(source)
    slow = chat_template(WithoutOffsets(fast)).tokenize(chat(*TURNS)).sample
    wanted = chat_template(fast).tokenize(chat(*TURNS)).sample
    assert slow.ids.tolist() == wanted.ids.tolist()
    assert slow.trained.tolist() == wanted.trained.tolist()


def test_a_tokenizer_that_tells_no_characters_and_merges_over_borders_is_refused() -> None:
    template = chat_template(WithoutOffsets(shapes.byte_level_tokenizer(NO_BORDER, words="none")))
    with pytest.raises(RecipeError, match="merges") as error:
        template.tokenize(chat(*GREETED))
    assert error.value.reason == "NOT_SUPPORTED"
