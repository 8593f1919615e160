"""Planted defects of JSONL sets: each is found at its file and line, and clean sets have nothing to find."""

import collections
import functools
import gzip
import inspect
import itertools
import json
import os
import pathlib
import random
import shutil
import statistics
import string
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.defects_jsonl import (
    DEFECTS,
    NOTED,
    SKIPPED,
    TRAIN,
    VAL,
    Defect,
    as_messages,
    clean_files,
    encoded,
    pairs,
)
from tuneyard.datasets import Code, Progress, Report, Severity, check
from tuneyard.datasets.check import Exclusion

Write = Callable[..., Path]


def found(report: Report) -> Counter[tuple[str, str | None, int | None]]:
    return Counter((finding.code.value, finding.path, finding.line) for finding in report.findings)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found_at_its_place(defect: Defect, write_folder: Write) -> None:
    files = clean_files()
    defect.plant(files)
    report = check(write_folder(files), format="jsonl")
    assert found(report) == Counter(defect.expected)
    assert all(finding.message and finding.remedy for finding in report.findings)


def test_the_corpus_is_large() -> None:
    assert len({code for defect in DEFECTS for code, _, _ in defect.expected}) >= 45
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 80


@pytest.mark.parametrize("defect", [*SKIPPED, *NOTED], ids=lambda defect: defect.name)
def test_a_line_is_left_out_exactly_if_it_is_no_example(defect: Defect, write_folder: Write) -> None:
    files = clean_files()
    defect.plant(files)
    report = check(write_folder(files), format="jsonl")
    assert report.samples == (139 if defect in SKIPPED else 140)
    assert not report.has_errors and report.files["lines"] == 140


def written(value: dict[str, str], layout: str) -> dict[str, object]:
    """A pair in one of the layouts that people bring."""
    asked, answer = value["instruction"], value["response"]
    turns = as_messages(value)["messages"]
    return {
        "instruction": value,
        "input": {"instruction": "Answer.", "input": asked, "response": answer},
        "output": {"instruction": asked, "input": "", "output": answer, "system": "Be brief."},
        "prompt": {"prompt": asked, "completion": answer},
        "prompt of turns": {"prompt": turns[:1], "completion": turns[1:]},
        "messages": {"messages": [{"role": "system", "content": "Be brief."}, *turns]},
        "parts": {
            "messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        },
        "conversations": {"conversations": turns},
        "from/value": {
            "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
        },
        "text": {"text": f"{asked}\n{answer}"},
    }[layout]


LAYOUTS = (
    "instruction",
    "input",
    "output",
    "prompt",
    "prompt of turns",
    "messages",
    "parts",
    "conversations",
    "from/value",
    "text",
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_and_clean(layout: str, write_folder: Write) -> None:
    files = {
        TRAIN: encoded([written(pair, layout) for pair in pairs(120)]),
        VAL: encoded([written(pair, layout) for pair in pairs(20, seed=2)]),
    }
    report = check(write_folder(files), format="jsonl")
    assert not report.findings
    assert {name: split.samples for name, split in report.splits.items()} == {"train": 120, "val": 20}


def as_array(data: bytes, indent: int | None = None) -> bytes:
    return json.dumps([json.loads(line) for line in data.splitlines()], indent=indent).encode()


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("set.jsonl", bytes),
        ("set.ndjson", bytes),
        ("upload", bytes),
        ("set.json", as_array),
        ("set.json", lambda data: as_array(data, 2)),
        ("set.jsonl.gz", gzip.compress),
        ("set.json.gz", lambda data: gzip.compress(as_array(data))),
        ("upload", gzip.compress),
        ("set.jsonl", lambda data: b"\xef\xbb\xbf" + data),
        ("set.jsonl", lambda data: data.replace(b"\n", b"\r\n")),
        ("set.jsonl", lambda data: data.replace(b"\n", b"\n\n").rstrip()),
        ("set.json", lambda data: b"\xef\xbb\xbf\r\n" + as_array(data, 1).replace(b"\n", b"\r\n")),
    ],
)
def test_a_single_file_is_read_however_it_is_encoded(
    name: str, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(encode(clean_files()[TRAIN]))
    report = check(tmp_path / name, format="jsonl")
    assert (report.samples, report.findings) == (120, ())


def test_a_zip_file_is_read_like_its_folder(write_zip: Write, write_folder: Write) -> None:
    files = clean_files() | {TRAIN: clean_files()[TRAIN] + b"oops\n", ".DS_Store": b"\0"}
    reports = [check(write(files, prefix="my-set/"), format="jsonl") for write in (write_zip, write_folder)]
    assert reports[0] == reports[1]
    assert found(reports[0]) == {("LINE_NOT_JSON", TRAIN, 121): 1, ("LINES_SKIPPED", None, None): 1}


def test_elements_that_share_a_line_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps([*pairs(120), {"text": ""}]))
    findings = {each.code: each for each in check(tmp_path / "set.json", format="jsonl").findings}
    assert findings[Code.TEXT_EMPTY].line == 1
    assert "Number 121 of those" in findings[Code.TEXT_EMPTY].message


@pytest.mark.parametrize("secret", ["ann.lee@corp.io", "+49 30 901820", "4111 1111 1111 1111"])
def test_personal_data_is_never_repeated(secret: str, tmp_path: Path) -> None:
    lines = [*pairs(120), {"instruction": f"Reach {secret}", "response": secret, secret: secret}]
    (tmp_path / "set.jsonl").write_bytes(encoded(lines))
    report = check(tmp_path / "set.jsonl", format="jsonl")
    assert report.counts["PERSONAL_DATA_SUSPECTED"] == 1
    assert secret not in report.to_json()


def test_lines_are_left_out_by_place(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_bytes(b"oops\n" * 20 + encoded(pairs(120)))
    places = [f"set.jsonl:{line}" for line in range(1, 21)]
    report = check(
        tmp_path / "set.jsonl", format="jsonl", exclusion=Exclusion(paths=[*places, "set.jsonl:999"])
    )
    assert found(report) == {("EXCLUDED_FILE_UNKNOWN", "set.jsonl:999", None): 1}
    assert report.samples == 120 and set(report.excluded) == set(places)


def test_lines_are_left_out_by_code_however_many_there_are(tmp_path: Path) -> None:
    lines = pairs(1200)
    (tmp_path / "set.jsonl").write_bytes(encoded([*lines, *lines, {"text": ""}]))
    codes = [Code.DUPLICATE_EXAMPLE, Code.TEXT_EMPTY]
    report = check(tmp_path / "set.jsonl", format="jsonl", exclusion=Exclusion(codes=codes))
    assert (report.samples, report.findings) == (1200, ())
    assert report.excluded[0] == "set.jsonl:1201" and len(report.excluded) == 1201


def test_files_are_left_out_by_name(write_folder: Write) -> None:
    files = clean_files() | {"more.jsonl": b"oops\n" * 50}
    report = check(write_folder(files), format="jsonl", exclusion=Exclusion(paths=["more.jsonl"]))
    assert (report.samples, report.findings, report.excluded) == (140, (), ("more.jsonl",))


def test_examples_that_are_all_the_same_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_bytes(encoded(pairs(1) * 150))
    report = check(tmp_path / "set.jsonl", format="jsonl")
    assert report.has_errors and report.counts == {"EXAMPLES_NOT_SPLITTABLE": 1, "DUPLICATE_EXAMPLE": 149}


def answering(*answers: str) -> bytes:
    lines = pairs(len(answers))
    return encoded([{**line, "response": answer} for line, answer in zip(lines, answers, strict=True)])


@pytest.mark.parametrize("letter", ["B", "b", "C.", "(d)", "x\n", "Я"])
def test_a_letter_among_phrases_is_trivial(letter: str, tmp_path: Path) -> None:
    answers = [f"It is number {number}." for number in range(150)]
    answers[41] = letter
    (tmp_path / "set.jsonl").write_bytes(answering(*answers))
    assert found(check(tmp_path / "set.jsonl", format="jsonl")) == {("RESPONSE_TRIVIAL", "set.jsonl", 42): 1}


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(["A", "B", "C", "D"], id="multiple choice"),
        pytest.param(["A", "It is the second one, as before."], id="multiple choice among other tasks"),
        pytest.param(["Python", "C", "Go", "R", "Rust"], id="labels"),
        pytest.param(
            ["The sum of both is 7.", "7", "是的，没有别的可能了，就是这样", "是"],
            id="numbers and ideographs",
        ),
    ],
)
def test_short_answers_that_are_meant_so_are_fine(answers: list[str], tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_bytes(answering(*(answers * 150)[:150]))
    assert not check(tmp_path / "set.jsonl", format="jsonl").findings


def test_progress_reaches_the_end_of_each_stage(write_folder: Write) -> None:
    seen: list[Progress] = []
    check(write_folder(clean_files()), format="jsonl", progress=seen.append)
    ends = {progress.stage for progress in seen if progress.done == progress.total}
    assert ends == {"reading examples", "comparing examples"}


def documented() -> list[dict[str, str]]:
    """Real prose: what the standard library says of its own functions."""
    found: dict[str, dict[str, str]] = {}
    for module in (
        collections,
        functools,
        itertools,
        os,
        pathlib,
        random,
        shutil,
        statistics,
        string,
        tempfile,
    ):
        for name, value in inspect.getmembers(module):
            text = inspect.getdoc(value) or ""
            if callable(value) and len(text) > 60:
                found[text] = {"instruction": f"What does {module.__name__}.{name} do?", "response": text}
    return list(found.values())


def test_real_prose_has_nothing_to_find(tmp_path: Path) -> None:
    examples = documented()
    (tmp_path / "set.jsonl").write_bytes(encoded(examples))
    report = check(tmp_path / "set.jsonl", format="jsonl")
    assert report.samples == len(examples) > 200
    # Some of these functions are described in nearly the same words.
    assert set(report.counts) <= {"NEAR_DUPLICATE_EXAMPLE"}


def test_every_code_of_the_corpus_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "jsonl-datasets.md").read_text()
    planted = {code for defect in DEFECTS for code, _, _ in defect.expected}
    assert [code for code in sorted(planted) if f"`{code}`" not in page] == []


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.sampled_from([bytes, gzip.compress, as_array]))
def test_no_bytes_crash_the_check(noise: bytes, at: int, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(encoded(pairs(6)))
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (
            ("a.jsonl", noise),
            ("a.json", b"[{" + noise),
            ("a.gz", whole[:at] + noise + whole[at:]),
        ):
            path = Path(folder) / name
            path.write_bytes(data)
            report = check(path, format="jsonl")
            assert Report.from_json(report.to_json()) == report


def first_error(report: Report) -> str:
    return next(finding.message for finding in report.findings if finding.severity is Severity.ERROR)


def test_a_set_that_is_refused_for_its_lines_names_the_first_of_them(write_folder: Write) -> None:
    lines = encoded(pairs(60)).splitlines(keepends=True)
    broken = b"".join(b"oops\n" if number % 6 == 2 else line for number, line in enumerate(lines))
    told = first_error(check(write_folder({TRAIN: broken}), format="jsonl"))
    assert " The first is line 3: The line is not JSON: " in told
    assert told.endswith(" The next: line 9, line 15, line 21, line 27.")


@pytest.mark.parametrize(
    ("good", "place"), [({}, "line 1"), ({TRAIN: encoded(pairs(3))}, f"line 1 of '{VAL}'")]
)
def test_a_broken_line_is_named_with_its_file_where_there_are_several(
    write_folder: Write, good: dict[str, bytes], place: str
) -> None:
    told = first_error(check(write_folder({**good, VAL if good else TRAIN: b"oops\n"}), format="jsonl"))
    assert f" The first is {place}: " in told and "next" not in told
