"""The JSONL format: examples for language models, in whatever layout, and the one form that recipes see.

`read` goes through them once in flat memory, `index` gives random access to millions. What is wrong with a
dataset is told by `jsonl_check`.
"""

import os
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, overload

from tuneyard.datasets.jsonl_lines import Record, records
from tuneyard.datasets.jsonl_rules import Kind, Message, NotAnExample, Parsed, parse
from tuneyard.datasets.jsonl_source import DATA_EXTENSIONS
from tuneyard.datasets.names import extension
from tuneyard.datasets.report import Report
from tuneyard.datasets.source import FolderSource, Source

FORMAT = "jsonl"
SPLITS = ("train", "val", "test")

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
}
_WORD = re.compile(r"[a-z]+")
# What Hugging Face's tools and others write beside data.
_DESCRIPTIONS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})


class DataFile(NamedTuple):
    """A file of examples and the split that they belong to."""

    name: str
    split: str


@dataclass(frozen=True, slots=True)
class Example:
    """One usable example.

    A "chat" has messages of the roles "system" (at most one, first), "user" and "assistant" in turns, and
    ends with "assistant". A "text" has one message of the role "text".
    """

    kind: Kind
    messages: tuple[Message, ...]
    path: str
    line: int
    """From 1, in the file as it was uploaded."""
    split: str


class JsonlIndex(Sequence[Example]):
    """The usable examples of a prepared dataset: all of train, then val, then test, in their files' order.

    It holds 28 bytes for each and reads an example when asked for it. It may be pickled, and shared by
    threads.
    """

    def __init__(self, root: Path, files: Sequence[DataFile]) -> None:
        self.root = root
        self.files = tuple(files)
        self.splits: dict[str, range] = {}
        """The positions of each split that has examples."""
        self.digests = array("Q")
        """For each example a hash of its content; equal for copies, in whatever layout."""
        self._files, self._lines = array("I"), array("I")
        self._offsets, self._lengths = array("Q"), array("I")

    def add(self, file_number: int, record: Record, parsed: Parsed) -> None:
        """Notes one more example; files come in the order of `files`."""
        split = self.files[file_number].split
        start = self.splits[split].start if split in self.splits else len(self)
        self.splits[split] = range(start, len(self) + 1)
        self.digests.append(digest(parsed.messages))
        self._files.append(file_number)
        self._lines.append(record.line)
        self._offsets.append(record.offset)
        self._lengths.append(len(record.data))

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, position: int) -> Example: ...
    @overload
    def __getitem__(self, position: slice) -> list[Example]: ...
    def __getitem__(self, position: int | slice) -> Example | list[Example]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        file = self.files[self._files[position]]
        descriptor = os.open(self.root / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, self._lengths[position], self._offsets[position])
        finally:
            os.close(descriptor)
        return _example(file, self._lines[position], parse(data))


def read(root: Path, report: Report | None = None) -> Iterator[Example]:
    """The usable examples of a prepared dataset: all of train, then val, then test.

    Lines that the report excludes are left out, as are those that are no examples. Raises `FileUnusable` for
    a file that no check would have accepted.
    """
    with FolderSource(root) as source:
        files = data_files(source.names())
        for number, record, parsed in _usable(source, files, report.excluded if report else ()):
            yield _example(files[number], record.line, parsed)


def index(root: Path, report: Report | None = None) -> JsonlIndex:
    """Reads a prepared dataset once and remembers where its usable examples are; raises as `read` does."""
    with FolderSource(root) as source:
        found = JsonlIndex(source.root, data_files(source.names()))
        for number, record, parsed in _usable(source, found.files, report.excluded if report else ()):
            found.add(number, record, parsed)
    return found


def data_files(names: Iterable[str]) -> list[DataFile]:
    """The files of examples in the order of their splits and names; a file alone is for training.

    The split is the last word of the path that names one: `eval/part-1.jsonl`, `my-train.jsonl`.
    """
    names = list(names)
    chosen = names if len(names) == 1 else [name for name in names if not _describes(name)]
    chosen = [name for name in chosen if extension(name) in DATA_EXTENSIONS]
    if len(chosen) == 1:
        return [DataFile(chosen[0], "train")]
    files = [DataFile(name, _split_of(name)) for name in chosen]
    return sorted(files, key=lambda file: (SPLITS.index(file.split), file.name))


def examine(source: Source, name: str) -> Iterator[tuple[Record, Parsed | NotAnExample]]:
    """Each record of a file with the example in it, or with why it is none; raises `FileUnusable`."""
    for record in records(source.chunks(name)):
        try:
            parsed = parse(record.data)
        except NotAnExample as error:
            yield record, error
        else:
            yield record, parsed


def digest(messages: Sequence[Message]) -> int:
    """A hash of 64 bits of what messages say and who says it, the same on every machine."""
    content = "\x1e".join([f"{role}\x1f{content}" for role, content in messages])
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), "little")


def address(name: str, record: Record) -> str:
    """What stands for a record in a report's `excluded`: "train.jsonl:17"."""
    return f"{name}:{record.place}"


def _usable(
    source: Source, files: Sequence[DataFile], excluded: Collection[str]
) -> Iterator[tuple[int, Record, Parsed]]:
    left_out = frozenset(excluded)
    for number, file in enumerate(files):
        if file.name in left_out:
            continue
        for record, parsed in examine(source, file.name):
            if isinstance(parsed, Parsed) and not (left_out and address(file.name, record) in left_out):
                yield number, record, parsed


def _example(file: DataFile, line: int, parsed: Parsed) -> Example:
    return Example(parsed.kind, parsed.messages, file.name, line, file.split)


def _describes(name: str) -> bool:
    return name.rpartition("/")[2].lower() in _DESCRIPTIONS


def _split_of(name: str) -> str:
    stem = name[: -len(extension(name))].lower()
    for part in reversed(stem.split("/")):
        for word in reversed(_WORD.findall(part)):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return "train"
