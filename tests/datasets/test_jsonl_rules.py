"""The normal form of examples, and that no input crashes what reads strangers' lines."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets.jsonl_personal import personal_data, secrets
from tuneyard.datasets.jsonl_quality import note_text
from tuneyard.datasets.jsonl_rules import Message, NotAnExample, Parsed, parse

TEXT = st.text(max_size=12)
LEAF = TEXT | st.none() | st.integers() | st.booleans() | st.lists(TEXT, max_size=2)
ROLE = st.sampled_from(["system", "user", "assistant", "human", "gpt", "tool", "", "User"]) | LEAF
TURN = st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), ROLE, max_size=4) | LEAF
KNOWN = ("messages", "conversations", "instruction", "prompt", "response", "output", "completion", "text")
KEYS = st.sampled_from((*KNOWN, "input", "system", "other"))
OBJECT = st.dictionaries(KEYS, st.lists(TURN, max_size=4) | LEAF, max_size=5)


def turns(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[number % 2], text) for number, text in enumerate(contents))


def read(value: object) -> Parsed:
    return parse(json.dumps(value).encode())


def test_instruction_and_input_become_one_question() -> None:
    found = read({"instruction": "Translate.", "input": "Hello", "output": " Bonjour", "system": "Be exact."})
    assert found.messages == (Message("system", "Be exact."), *turns("Translate.\n\nHello", " Bonjour"))


def test_an_input_of_null_is_none() -> None:
    assert read({"instruction": "Hi", "input": None, "system": "", "response": "Hello"}).messages == turns(
        "Hi", "Hello"
    )


def test_sharegpt_names_become_roles() -> None:
    turns_given = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    found = read({"system": "Be brief.", "conversations": turns_given, "id": 7})
    assert found.messages == (Message("system", "Be brief."), *turns("Hi", "Hello"))
    assert (found.layout, found.ignored_keys) == ("from/value", ("id",))


def test_messages_are_preferred_to_what_was_made_of_them() -> None:
    messages = [{"role": "User", "content": "Hi"}, {"role": "ASSISTANT", "content": "Hello"}]
    found = read({"prompt": "Hi", "messages": messages, "text": "<s>Hi</s>"})
    assert found.messages == turns("Hi", "Hello") and set(found.ignored_keys) == {"prompt", "text"}


def test_a_last_question_without_answer_is_left_out() -> None:
    messages = [{"role": "user" if number % 2 == 0 else "assistant", "content": "x"} for number in range(3)]
    found = read({"messages": messages})
    assert found.messages == turns("x", "x") and found.unanswered


def test_plain_text_has_one_message() -> None:
    assert read({"text": "Once upon a time"}).messages == (Message("text", "Once upon a time"),)
    assert read({"text": "Once"}).kind == "text"


def test_a_likely_misspelling_is_named() -> None:
    with pytest.raises(NotAnExample, match="'Instructions' may be meant as 'instruction'"):
        read({"Instructions": "Hi", "answer": "Hello"})


@given(OBJECT)
def test_an_object_is_an_example_in_normal_form_or_is_refused(value: dict[str, object]) -> None:
    data = json.dumps(value).encode()
    try:
        found = parse(data)
    except NotAnExample as error:
        assert error.message.endswith(".")
        return
    roles = [message.role for message in found.messages]
    body = roles[1:] if roles[0] == "system" else roles
    assert roles == ["text"] or (len(body) % 2 == 0 and body == ["user", "assistant"] * (len(body) // 2))
    assert found.messages[-1].content.strip() and all(message for _, message in note_text(found, data))


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps({"text": text}).encode()))
def test_no_bytes_crash_it(data: bytes) -> None:
    try:
        found = parse(data)
    except NotAnExample:
        return
    assert list(note_text(found, data)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 12:30:00",
        "1234567890",
        "3.14159265358979323846",
        "ISBN 978-3-16-148410-0",
        "1 + 2345678 = 2345679",
        "10.20.30.40:8080",
        "1914-1918 and 1939-1945",
        "4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "DE89370400440532013001",
        "user@example.com, root@localhost, @property",
        "git@host",
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "+1 +2 +3 +4 +5 +6 +7",
        "sk-learn-is-a-nice-library-to-know",
        "risk-averse_and_well_known_words",
        "eyJust.kidding.you",
    ],
)
def test_numbers_and_names_are_not_suspected(text: str) -> None:
    assert (personal_data(text), secrets(text)) == ([], [])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("DE89 3704 0044 0532 0130 00", "a bank account number (IBAN)"),
        ("mail:a.b+c@mail.corp.co.uk!", "an email address"),
        ("tel. 415-555-2671", "a phone number"),
        ("5500-0000-0000-0004", "a card number"),
        ("378282246310005", "a card number"),
        ("ghp_" + "a1B2" * 9, "a GitHub token"),
        ("hf_" + "aBcDeF" * 6, "a Hugging Face token"),
        ("xoxb-123456789012-abcdefGHIJKL", "a Slack token"),
        ("AIza" + "Sy_-a" * 7, "a Google API key"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
            "a JSON web token",
        ),
    ],
)
def test_personal_data_and_secrets_are_recognized(text: str, kind: str) -> None:
    assert kind in personal_data(text) + secrets(text)


TOKENS = ("-eyJ", "eyJ-", "-sk-", "sk-a-", "sk-a1-", "glpat-", "xoxb-1-", "ghp_", "-----BEGIN A ")
NUMBERS = ("1-", "1 ", "+1", "4111-", "(415) ", "GB82 ", "GB82WEST", "a.b-", "a@a.", "a@", "@a-")


@pytest.mark.parametrize("text", [*TOKENS, *NUMBERS, "\u00c3", "\u00e2\u20ac", "ha ", "\n"])
def test_no_text_takes_more_than_time_in_proportion(text: str) -> None:
    asked, answer = text * (400_000 // len(text)), "yes" + text * (400_000 // len(text))
    data = json.dumps({"instruction": asked, "response": answer}).encode()
    started = time.process_time()
    list(note_text(parse(data), data))
    assert time.process_time() - started < 3
