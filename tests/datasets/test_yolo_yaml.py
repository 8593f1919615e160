"""What a data.yaml may say, and that nothing in it is more than text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.yolo_yaml import DataYaml, Entry, parse_data_yaml


def parse(text: str | bytes) -> tuple[DataYaml, list[tuple[str, int | None]]]:
    log = FindingLog()
    data = text.encode() if isinstance(text, str) else text
    described = parse_data_yaml(data, name="data.yaml", log=log)
    return described, [(finding.code.value, finding.line) for finding in log.findings()]


def test_paths_and_names_are_read_with_their_lines() -> None:
    described, findings = parse("path: shapes\ntrain: images/train\nval:\n  - a\n  - b\nnames: [cat, dog]\n")
    assert described.path == Entry("shapes", 1)
    assert described.splits == {"train": (Entry("images/train", 2),), "val": (Entry("a", 4), Entry("b", 5))}
    assert described.classes == ("cat", "dog")
    assert findings == []


@pytest.mark.parametrize(
    "names",
    ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}", "\n  - cat\n  - dog", "\n  '0': cat\n  '1': dog"],
)
def test_names_may_be_a_list_or_a_map(names: str) -> None:
    described, findings = parse(f"names: {names}\n")
    assert described.classes == ("cat", "dog")
    assert findings == []


def test_words_that_yaml_takes_for_something_else_stay_names() -> None:
    assert parse("names: [no, yes, null, 1.0, 2024-01-01]\n")[0].classes == (
        "no",
        "yes",
        "null",
        "1.0",
        "2024-01-01",
    )


def test_a_missing_nc_is_derived_and_missing_names_are_numbers() -> None:
    assert parse("nc: 3\n")[0].classes == ("0", "1", "2")
    assert parse("train: images\n")[0].classes is None


@pytest.mark.parametrize("key", ["valid", "validation", "val"])
def test_the_usual_names_of_the_validation_split_are_understood(key: str) -> None:
    assert parse(f"{key}: images/val\n")[0].splits == {"val": (Entry("images/val", 1),)}


@pytest.mark.parametrize("value", ["", "~", "null"])
def test_a_split_without_a_value_is_not_given(value: str) -> None:
    assert parse(f"test: {value}\n") == (DataYaml("data.yaml"), [])


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("train: {a: b}\n", "YAML_INVALID", 1),
        ("train: a\nval: [[b]]\n", "YAML_INVALID", 2),
        ("nc: 0\n", "YAML_INVALID", 1),
        ("nc: 2.5\n", "YAML_INVALID", 1),
        (f"nc: {'9' * 5000}\n", "YAML_INVALID", 1),
        ("kpt_shape: [²,  3]\n", "YAML_KEY_IGNORED", 1),
        ("train: a\ndownload:\n\n  - rm\n", "YAML_DOWNLOAD_IGNORED", 2),
        ("train: a\n---\ntrain: b\n", "YAML_INVALID", 2),
        ("names: cat\n", "YAML_NAMES_INVALID", 1),
        ("names: []\n", "YAML_NAMES_INVALID", 1),
        ("names: {a: cat}\n", "YAML_NAMES_INVALID", 1),
        ("names: {0: cat, 0: dog}\n", "YAML_NAMES_INVALID", 1),
        ("names: &a [*a]\n", "YAML_NAMES_INVALID", 1),
        ("names: [cat, {dog: 1}]\n", "YAML_NAMES_INVALID", 1),
        ("nc: 2\nnames: [cat]\n", "YAML_NC_MISMATCH", 1),
        ("[a]: b\n", "YAML_INVALID", 1),
        ("", "YAML_INVALID", 1),
        ("\tnames: [cat]\n", "YAML_INVALID", 1),
        ('train: "C:\\data"\n', "YAML_INVALID", 1),
    ],
)
def test_what_makes_no_sense_is_named_at_its_line(text: str, code: str, line: int) -> None:
    assert (code, line) in parse(text)[1]


def test_a_large_file_is_not_parsed() -> None:
    described, findings = parse(b"x: " + b"[" * (1 << 20))
    assert findings == [("YAML_INVALID", None)]
    assert described.classes is None


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="abn:{}[]-&*!'\"\n ,0train", max_size=120)))
def test_no_bytes_crash_it(data: bytes | str) -> None:
    parse(data)
