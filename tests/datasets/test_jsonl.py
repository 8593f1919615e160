"""What recipes get of a prepared dataset: every usable example, once, in one form, by position."""

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.defects_jsonl import DEFECTS, TRAIN, Defect, as_messages, clean_files, encoded, pairs
from tuneyard.datasets import Report, check, jsonl, prepare
from tuneyard.datasets.jsonl import DataFile, data_files
from tuneyard.datasets.jsonl_rules import Message

Write = Callable[..., Path]


def prepared(archive: Path, destination: Path) -> tuple[Path, Report]:
    report = check(archive, format="jsonl")
    prepare(archive, destination, format="jsonl", report=report)
    return destination, report


@pytest.mark.parametrize(
    "defect",
    [each for each in DEFECTS if all(code != "NO_EXAMPLES" for code, _, _ in each.expected)],
    ids=lambda defect: defect.name,
)
def test_what_is_read_is_what_was_counted(defect: Defect, write_zip: Write, tmp_path: Path) -> None:
    files = clean_files(train=30, val=5)
    defect.plant(files)
    root, report = prepared(write_zip(files, method=0), tmp_path / "out")
    if any(code.startswith(("FILE_", "JSON_")) for code in report.counts) and report.has_errors:
        return
    examples = list(jsonl.read(root, report))
    assert len(examples) == report.samples == len(jsonl.index(root, report))
    assert {split: len(jsonl.index(root).splits[split]) for split in report.splits} == {
        name: split.samples for name, split in report.splits.items()
    }


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_an_index_gives_at_every_position_what_reading_gives(
    indent: int | None, newline: bytes, tmp_path: Path
) -> None:
    (tmp_path / "train.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (encoded(pairs(30)) + b"oops\n").replace(b"\n", newline)
    )
    array = json.dumps([*map(as_messages, pairs(9, seed=2)), 4], indent=indent, ensure_ascii=False)
    (tmp_path / "val.json").write_bytes(array.encode().replace(b"\n", newline))
    index = jsonl.index(tmp_path)
    assert list(index) == list(jsonl.read(tmp_path)) == pickle.loads(pickle.dumps(index))[:]
    assert index.splits == {"train": range(30), "val": range(30, 39)}


def test_an_example_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\n\n" + encoded([{"instruction": "Hé", "response": "Ho"}]))
    (tmp_path / "test.jsonl").write_bytes(encoded([{"text": "x"}]))
    first, last = jsonl.index(tmp_path)
    assert (first.path, first.line, first.split, first.kind) == ("train.jsonl", 3, "train", "chat")
    assert first.messages == (Message("user", "Hé"), Message("assistant", "Ho"))
    assert (last.split, last.kind, last.messages) == ("test", "text", (Message("text", "x"),))


def test_excluded_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(encoded(pairs(5)))
    (tmp_path / "more.jsonl").write_bytes(encoded(pairs(5, seed=2)))
    (tmp_path / "array.json").write_text(json.dumps(pairs(3, seed=3)))
    report = Report(format="jsonl", excluded=("train.jsonl:2", "array.json:1#2", "more.jsonl"))
    kept = [(example.path, example.line) for example in jsonl.index(tmp_path, report)]
    assert kept == [("array.json", 1)] * 2 + [("train.jsonl", line) for line in (1, 3, 4, 5)]


def test_equal_examples_have_equal_digests_in_whatever_layout(tmp_path: Path) -> None:
    one, other = pairs(2)
    (tmp_path / "set.jsonl").write_bytes(encoded([one, as_messages(one), other]))
    first, copy, different = jsonl.index(tmp_path).digests
    assert first == copy != different


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["test.jsonl"], [("test.jsonl", "train")]),
        (["train.jsonl", "valid.jsonl"], [("train.jsonl", "train"), ("valid.jsonl", "val")]),
        (
            ["alpaca_train-00001.json", "alpaca_eval.json"],
            [("alpaca_train-00001.json", "train"), ("alpaca_eval.json", "val")],
        ),
        (["dev/a.jsonl", "train/a.jsonl"], [("train/a.jsonl", "train"), ("dev/a.jsonl", "val")]),
        (["a.jsonl", "latest.jsonl"], [("a.jsonl", "train"), ("latest.jsonl", "train")]),
        (["a.ndjson", "dataset_info.json", "notes.md"], [("a.ndjson", "train")]),
    ],
)
def test_splits_are_told_by_names(names: list[str], expected: list[tuple[str, str]]) -> None:
    assert data_files(names) == [DataFile(*each) for each in expected]


@pytest.mark.parametrize("name", ["set.jsonl", "upload"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_single_file_is_prepared_as_text(name: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(clean_files()[TRAIN]))
    root, report = prepared(tmp_path / name, tmp_path / "out")
    (file,) = root.iterdir()
    assert file.read_bytes() == clean_files()[TRAIN]
    assert len(jsonl.index(root)) == report.samples == 120
