"""JSONL datasets with one planted defect each, and what a check has to say: its code, its file and its line.

The clean dataset is a train and a val file of made-up questions and answers. Nothing here knows how a check
works.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Files = dict[str, bytes]
Expected = tuple[str, str | None, int | None]

TRAIN, VAL = "train.jsonl", "val.jsonl"
_LINE = 7
"""The line of the train file that most defects are planted in."""

_NOUNS = (
    "river mountain engine garden library bridge market teacher window island violin harbour planet "
    "recipe forest letter museum village doctor castle orchard railway desert painter kitchen machine "
    "lantern sailor glacier theatre bakery meadow captain compass voyage archive student festival "
    "workshop"
)
_VERBS = (
    "carries follows describes repairs measures paints collects explains builds crosses studies protects "
    "remembers delivers connects illuminates discovers organizes compares teaches"
)
_QUALITIES = (
    "quiet ancient narrow bright hollow generous wooden distant careful northern painted silver patient "
    "crowded frozen gentle modern wandering humble curious"
)


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a dataset, and the findings (code, path, line) that name it."""

    name: str
    plant: Callable[[Files], None]
    expected: tuple[Expected, ...]


def sentence(source: random.Random) -> str:
    """A grammatical sentence that hardly comes twice."""
    qualities, nouns, verbs = _QUALITIES.split(), _NOUNS.split(), _VERBS.split()
    pick = source.choice
    return (
        f"The {pick(qualities)} {pick(nouns)} {pick(verbs)} the {pick(qualities)} {pick(nouns)} near"
        f" the {pick(nouns)}."
    )


def pairs(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Instructions with responses, every one different."""
    source = random.Random(seed)
    return [
        {
            "instruction": f"What happens after this? {sentence(source)}",
            "response": " ".join(sentence(source) for _ in range(source.randint(2, 4))),
        }
        for _ in range(count)
    ]


def as_messages(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair as a conversation of one exchange."""
    return {"messages": [_turn("user", pair["instruction"]), _turn("assistant", pair["response"])]}


def encoded(values: Sequence[object]) -> bytes:
    """One JSON document on each line."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def clean_files(*, train: int = 120, val: int = 20) -> Files:
    """A dataset with nothing to find."""
    return {TRAIN: encoded(pairs(train, seed=1)), VAL: encoded(pairs(val, seed=2))}


def _turn(role: object, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def _raw(data: bytes, *, line: int = _LINE, of: str = TRAIN) -> Callable[[Files], None]:
    """Replaces one line."""

    def plant(files: Files) -> None:
        lines = files[of].split(b"\n")
        lines[line - 1] = data
        files[of] = b"\n".join(lines)

    return plant


def _value(value: object, *, line: int = _LINE) -> Callable[[Files], None]:
    return _raw(json.dumps(value).encode(), line=line)


def _changed(**changes: object) -> Callable[[Files], None]:
    """Changes keys of one example; None removes a key."""
    example = {**pairs(1, seed=3)[0], **changes}
    return _value({key: value for key, value in example.items() if value is not None})


def _chat(*turns: object) -> Callable[[Files], None]:
    """A whole dataset of conversations, with these turns in one of them."""

    def plant(files: Files) -> None:
        files[TRAIN] = encoded([as_messages(pair) for pair in pairs(120, seed=1)])
        files[VAL] = encoded([as_messages(pair) for pair in pairs(20, seed=2)])
        _value({"messages": turns})(files)

    return plant


def _written(name: str, data: bytes) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        files[name] = data

    return plant


def _copied(line: int, *, to: str, change: Callable[[bytes], bytes] = bytes) -> Callable[[Files], None]:
    """Puts a line of the train file into a file a second time, as its last line."""

    def plant(files: Files) -> None:
        files[to] += change(files[TRAIN].split(b"\n")[line - 1]) + b"\n"

    return plant


def _reworded(line: bytes) -> bytes:
    example = json.loads(line)
    return json.dumps({**example, "response": example["response"] + " Truly!"}).encode()


def _only(*names: str) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for name in [name for name in files if name not in names]:
            del files[name]

    return plant


def _both(*plants: Callable[[Files], None]) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for each in plants:
            each(files)

    return plant


def _skipped(name: str, plant: Callable[[Files], None], code: str, *, line: int = _LINE) -> Defect:
    """One line that is no example: it is named, and that lines are skipped is told once."""
    return Defect(name, plant, ((code, TRAIN, line), ("LINES_SKIPPED", None, None)))


def _noted(name: str, plant: Callable[[Files], None], code: str) -> Defect:
    """One line that is used and deserves a look."""
    return Defect(name, plant, ((code, TRAIN, _LINE),))


_USER, _ANSWER = _turn("user", "What is a compass for?"), _turn("assistant", "It shows where north is.")

SKIPPED = (
    _skipped("no JSON", _raw(b"instruction: hello, response: hi"), "LINE_NOT_JSON"),
    _skipped("single quotes", _raw(b"{'instruction': 'hello', 'response': 'hi'}"), "LINE_NOT_JSON"),
    _skipped("cut off", _raw(b'{"instruction": "hello", "respo'), "LINE_NOT_JSON"),
    _skipped("two objects on a line", _raw(encoded(pairs(2)).replace(b"\n", b"")), "LINE_NOT_JSON"),
    _skipped("a bare tabulator", _raw(b'{"instruction": "a\tb", "response": "c"}'), "LINE_NOT_JSON"),
    _skipped("nested too deeply", _raw(b"[" * 100_000), "LINE_NOT_JSON"),
    _skipped("a number too long", _raw(b'{"text": ' + b"9" * 10_000 + b"}"), "LINE_NOT_JSON"),
    _skipped("an array", _value(["hello", "hi"]), "LINE_NOT_OBJECT"),
    _skipped("a string", _value("hello"), "LINE_NOT_OBJECT"),
    _skipped("null", _raw(b"null"), "LINE_NOT_OBJECT"),
    _skipped(
        "Latin-1", _raw('{"instruction": "Grüße", "response": "hi"}'.encode("latin-1")), "LINE_NOT_UTF8"
    ),
    _skipped("half a surrogate pair", _raw(rb'{"text": "a \ud83d b"}'), "LINE_INVALID_UNICODE"),
    _skipped("too long a line", _value({"text": "a" * (17 << 20)}), "LINE_TOO_LONG"),
    _skipped("other keys", _value({"question": "hello", "reply": "hi"}), "KEYS_UNKNOWN"),
    _skipped("an empty object", _value({}), "KEYS_UNKNOWN"),
    _skipped("no response", _changed(response=None), "KEY_MISSING"),
    _skipped("no instruction", _changed(instruction=None), "KEY_MISSING"),
    _skipped("a misspelled key", _value({"instruction": "hello", "respones": "hi"}), "KEY_MISSING"),
    _skipped("a number as response", _changed(response=42), "CONTENT_NOT_TEXT"),
    _skipped("a list as input", _changed(input=[1, 2]), "CONTENT_NOT_TEXT"),
    _skipped("an empty response", _changed(response=""), "RESPONSE_EMPTY"),
    _skipped("a blank response", _changed(response=" \n\t"), "RESPONSE_EMPTY"),
    _skipped("an empty text", _value({"text": " "}), "TEXT_EMPTY"),
    _skipped("no messages", _chat(), "MESSAGES_EMPTY"),
    _skipped("messages that are a string", _value({"messages": "hello"}), "MESSAGE_MALFORMED"),
    _skipped("a message that is a string", _chat(_USER, "hi"), "MESSAGE_MALFORMED"),
    _skipped("a message without role", _chat(_USER, {"content": "hi"}), "MESSAGE_MALFORMED"),
    _skipped("a message without content", _chat(_USER, {"role": "assistant"}), "MESSAGE_MALFORMED"),
    _skipped("an image in a message", _chat(_turn("user", [{"type": "image"}]), _ANSWER), "CONTENT_NOT_TEXT"),
    _skipped("a content of null", _chat(_USER, _turn("assistant", None)), "CONTENT_NOT_TEXT"),
    _skipped("an unknown role", _chat(_USER, _turn("narrator", "hi")), "ROLE_UNKNOWN"),
    _skipped("a role that is a number", _chat(_USER, _turn(1, "hi")), "ROLE_UNKNOWN"),
    _skipped("two users in a row", _chat(_USER, _USER, _ANSWER), "ROLE_ORDER"),
    _skipped("the assistant first", _chat(_ANSWER, _USER, _ANSWER), "ROLE_ORDER"),
    _skipped("a system message later", _chat(_USER, _turn("system", "x"), _ANSWER), "SYSTEM_NOT_FIRST"),
    _skipped("two system messages", _chat(*[_turn("system", "x")] * 2, _USER, _ANSWER), "SYSTEM_NOT_FIRST"),
    _skipped("no assistant", _chat(_turn("system", "x"), _USER), "NO_ASSISTANT_TURN"),
    _skipped("an empty turn of the assistant's", _chat(_USER, _turn("assistant", "")), "RESPONSE_EMPTY"),
)

NOTED = (
    _noted("an empty prompt", _changed(instruction=""), "PROMPT_EMPTY"),
    _noted("a last turn of the user's", _chat(_USER, _ANSWER, _USER), "LAST_TURN_UNANSWERED"),
    _noted("a very long example", _changed(response="Quite so, my dear. " * 30_000), "EXAMPLE_VERY_LONG"),
    _noted("a control character", _changed(response="A bell \x07 rings."), "CONTROL_CHARACTERS"),
    _noted("a zero character", _changed(response="A zero \x00 ends."), "CONTROL_CHARACTERS"),
    _noted("a lost character", _changed(response="The caf\ufffd is open."), "TEXT_ENCODING_DAMAGED"),
    _noted("UTF-8 read as cp1252", _changed(response="It\u00e2\u20ac\u2122s late."), "TEXT_ENCODING_DAMAGED"),
    _noted(
        "UTF-8 read as Latin-1", _changed(response="The caf\u00c3\u00a9 is open."), "TEXT_ENCODING_DAMAGED"
    ),
    _noted("a placeholder", _changed(response="TODO"), "RESPONSE_TRIVIAL"),
    _noted("punctuation", _changed(response="..."), "RESPONSE_TRIVIAL"),
    _noted("a letter among long responses", _changed(response="B"), "RESPONSE_TRIVIAL"),
    _noted("one character again and again", _changed(response="a" * 200), "RESPONSE_REPETITIVE"),
    _noted("one word again and again", _changed(response="ha " * 50), "RESPONSE_REPETITIVE"),
    _noted("a refusal", _changed(response="As an AI language model, I have none."), "RESPONSE_BOILERPLATE"),
    _noted("filler text", _changed(response="Lorem ipsum dolor sit amet."), "RESPONSE_BOILERPLATE"),
    _noted("an echo", _changed(response=pairs(1, seed=3)[0]["instruction"]), "RESPONSE_REPEATS_PROMPT"),
    _noted("an email address", _changed(response="Ask ann.lee@corp.io."), "PERSONAL_DATA_SUSPECTED"),
    _noted("a phone number", _changed(response="Call +49 30 901820."), "PERSONAL_DATA_SUSPECTED"),
    _noted("an American phone number", _changed(response="Call (415) 555-2671."), "PERSONAL_DATA_SUSPECTED"),
    _noted("a card number", _changed(response="Pay by 4111 1111 1111 1111."), "PERSONAL_DATA_SUSPECTED"),
    _noted("an IBAN", _changed(response="To GB82 WEST 1234 5698 7654 32."), "PERSONAL_DATA_SUSPECTED"),
    _noted("an AWS key", _changed(response="Use AKIAIOSFODNN7EXAMPLE."), "SECRET_SUSPECTED"),
    _noted("an API key", _changed(response="Use sk-proj-a1B2c3D4e5F6g7H8i9J0k1."), "SECRET_SUSPECTED"),
    _noted("a private key", _changed(response="-----BEGIN RSA PRIVATE KEY-----"), "SECRET_SUSPECTED"),
)

WHOLE = (
    Defect("a copy in train", _copied(5, to=TRAIN), (("DUPLICATE_EXAMPLE", TRAIN, 121),)),
    Defect(
        "a copy in another layout",
        _copied(5, to=TRAIN, change=lambda line: encoded([as_messages(json.loads(line))]).strip()),
        (("DUPLICATE_EXAMPLE", TRAIN, 121), ("LAYOUTS_MIXED", TRAIN, 121)),
    ),
    Defect("a leak", _copied(5, to=VAL), (("DUPLICATE_EXAMPLE_ACROSS_SPLITS", VAL, 21),)),
    Defect("a near copy", _copied(5, to=TRAIN, change=_reworded), (("NEAR_DUPLICATE_EXAMPLE", TRAIN, 121),)),
    Defect(
        "a near leak",
        _copied(5, to=VAL, change=_reworded),
        (("NEAR_DUPLICATE_EXAMPLE_ACROSS_SPLITS", VAL, 21),),
    ),
    Defect("two layouts", _value(as_messages(pairs(1, seed=3)[0])), (("LAYOUTS_MIXED", TRAIN, _LINE),)),
    Defect("a key that is not read", _changed(score=3), (("KEYS_IGNORED", TRAIN, _LINE),)),
    Defect(
        "an empty file", _written("more.jsonl", b"\n\n"), (("FILE_WITHOUT_EXAMPLES", "more.jsonl", None),)
    ),
    Defect("UTF-16", _written(TRAIN, "{}".encode("utf-16")), (("FILE_NOT_UTF8", TRAIN, None),)),
    Defect("binary data", _written("more.jsonl", b"PAR1\0\0\0"), (("FILE_NOT_UTF8", "more.jsonl", None),)),
    Defect(
        "pretty-printed objects",
        _written("more.json", json.dumps(pairs(1)[0], indent=2).encode()),
        (("FILE_PRETTY_PRINTED", "more.json", 1),),
    ),
    Defect(
        "an array that is cut off",
        _written("more.json", json.dumps(pairs(3, seed=4), indent=1)[:-3].encode()),
        (("JSON_ARRAY_BROKEN", "more.json", 10),),
    ),
    Defect(
        "text after an array",
        _written("more.json", json.dumps(pairs(3, seed=4)).encode() + b"\nend"),
        (("JSON_ARRAY_BROKEN", "more.json", 2),),
    ),
    Defect(
        "an element that is no example",
        _written("more.json", json.dumps([*pairs(3, seed=4), {"a": 1}], indent=1).encode()),
        (("KEYS_UNKNOWN", "more.json", 14), ("LINES_SKIPPED", None, None)),
    ),
    Defect("a table", _written("more.csv", b"a,b\n"), (("FILE_NOT_JSONL", "more.csv", None),)),
    Defect(
        "nothing for training",
        _both(_written("test.jsonl", encoded(pairs(20, seed=4))), _only(VAL, "test.jsonl")),
        (("SPLIT_TRAIN_FILE_MISSING", None, None),),
    ),
    Defect(
        "no example",
        _both(_written(TRAIN, b""), _only(TRAIN)),
        (("NO_EXAMPLES", None, None), ("FILE_WITHOUT_EXAMPLES", TRAIN, None)),
    ),
    Defect(
        "few examples",
        _both(_written(TRAIN, encoded(pairs(99))), _written(VAL, encoded(pairs(15, seed=2)))),
        (("EXAMPLES_FEW", None, None),),
    ),
    Defect(
        "little validation", _written(VAL, encoded(pairs(5, seed=2))), (("SPLIT_SHARE_UNUSUAL", None, None),)
    ),
    Defect(
        "much validation", _written(VAL, encoded(pairs(60, seed=2))), (("SPLIT_SHARE_UNUSUAL", None, None),)
    ),
    Defect(
        "one response to everything",
        _both(
            _written(TRAIN, encoded([{**pair, "response": "Fine."} for pair in pairs(120)])),
            _written(VAL, encoded([{**pair, "response": "Fine."} for pair in pairs(20, seed=2)])),
        ),
        (("RESPONSES_ALL_EQUAL", None, None),),
    ),
    Defect(
        "too many broken lines",
        _both(*(_raw(b"{", line=line) for line in range(1, 9))),
        (*(("LINE_NOT_JSON", TRAIN, line) for line in range(1, 9)), ("LINES_BROKEN", None, None)),
    ),
)

DEFECTS = (*SKIPPED, *NOTED, *WHOLE)
