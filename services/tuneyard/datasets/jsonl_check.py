"""Checks a JSONL dataset: reads every line once, and says where training would stumble over what.

Lines that are no examples are listed and left out; above a share the dataset is refused. What an example is,
is decided by `jsonl_rules`; what a job's own tokenizer makes of it is seen later, by `jsonl_tokens`.
"""

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import median_low

from tuneyard.datasets.class_balance import note_class_sizes
from tuneyard.datasets.codes import Code
from tuneyard.datasets.jsonl import FORMAT, DataFile, address, data_files, digest, examine
from tuneyard.datasets.jsonl_duplicates import NearDuplicates, closest, copies
from tuneyard.datasets.jsonl_lines import FileUnusable, Record
from tuneyard.datasets.jsonl_quality import is_letter, note_text
from tuneyard.datasets.jsonl_rules import NotAnExample, Parsed, quoted
from tuneyard.datasets.names import ARCHIVE_EXTENSIONS, told_unknown
from tuneyard.datasets.progress import Progress, ProgressCallback
from tuneyard.datasets.report import FindingLog, Report, SplitSummary
from tuneyard.datasets.source import Source
from tuneyard.datasets.words import counted

MAX_BROKEN_SHARE = 0.05
"""Above this share of lines that are no examples the dataset is refused; below, they are skipped."""
MIN_EXAMPLES = 100

_RECORDS_BETWEEN_PROGRESS = 2000
_MAX_KEYS_SHOWN = 10
_BROKEN_TOLD = 5
"""Of the lines that a dataset is refused for, so many are named where it is refused."""
# A response so short is remarkable where most are so long: "No" is a fine answer among labels.
_SHORT_CHARACTERS, _LONG_CHARACTERS = 3, 60
_PHRASE_CHARACTERS = 10
"""A single letter is remarkable already where most responses are as long as this."""
_RARE_SHARE = 0.2
"""What is more frequent is meant so, such as multiple choice among other tasks."""


def inspect(
    source: Source,
    *,
    progress: ProgressCallback | None = None,
    excluded: Collection[str] = (),
    excluded_codes: Collection[Code] = (),
) -> Report:
    """Reads every example and reports.

    `excluded` are files, or lines as "train.jsonl:17"; with `excluded_codes` all lines with such findings are
    left out as well, and what is left is judged for itself.
    """
    if excluded_codes:
        wanted = frozenset(excluded_codes)
        first = _Check(source, progress, frozenset(excluded), wanted)
        first.run()
        excluded = {*excluded, *first.marked}
    check = _Check(source, progress, frozenset(excluded), frozenset())
    return check.run()


@dataclass
class _FileSeen:
    """What is remembered of one file while it is read."""

    examples: int = 0
    broken: int = 0
    ignored_keys: dict[str, int] = field(default_factory=dict)
    """The line on which each key was first seen."""
    layouts: set[str] = field(default_factory=set)


class _Check:
    """One pass over a dataset. Of each example it keeps 24 bytes, and its signature."""

    def __init__(
        self,
        source: Source,
        progress: ProgressCallback | None,
        excluded: frozenset[str],
        wanted: frozenset[Code],
    ) -> None:
        self._source = source
        self._progress = progress
        self._excluded = excluded
        self._wanted = wanted
        self.marked: set[str] = set()
        """The addresses of all lines that have a finding of the wanted codes."""
        self._log = FindingLog()
        self._files = [file for file in data_files(source.names()) if file.name not in excluded]
        self._total_bytes = sum(source.size(file.name) for file in self._files)
        self._left_out: set[str] = set()
        self._examples = {split: 0 for split in ("train", "val", "test")}
        self._broken = self._done_bytes = 0
        self._first_broken: list[tuple[str, str]] = []
        """Where the first lines are that cannot be used, and why."""
        self._file_numbers, self._lines, self._nths = array("I"), array("I"), array("I")
        self._digests, self._response_lengths = array("Q"), array("I")
        self._short, self._letters = array("Q"), array("Q")
        """The positions of examples whose response is a few characters long, and of those with one letter."""
        self._near = NearDuplicates()
        self._first_layout: tuple[str, str, int] | None = None
        self._one_response: str | None = None
        self._responses_differ = False

    def run(self) -> Report:
        self._note_names()
        for number, file in enumerate(self._files):
            self._read_file(number, file)
        duplicates = self._note_duplicates()
        self._note_whole()
        for place in sorted(self._excluded - self._left_out):
            told = told_unknown(place, [file.name for file in self._files])
            self._log.add(Code.EXCLUDED_FILE_UNKNOWN, told, path=place)
        splits = {
            split: SplitSummary(samples=count, per_class={})
            for split, count in self._examples.items()
            if count
        }
        if "train" in splits:
            note_class_sizes(self._log, splits)
        return Report(
            format=FORMAT,
            findings=self._log.findings(),
            counts=self._log.counts(),
            splits=splits,
            excluded=tuple(sorted(self._left_out)),
            samples=len(self._lines),
            files={
                "total": len(self._source.names()),
                "lines": len(self._lines) + self._broken,
                "broken": self._broken,
                "duplicates": duplicates,
                "ignored": self._source.ignored,
            },
        )

    def _note_names(self) -> None:
        for name in self._source.links:
            self._log.add(Code.LINK_IGNORED, f"{name!r} is a link or a special file.", path=name)
        names = {file.name for file in self._files}
        for name in self._source.names():
            if name in self._excluded:
                self._left_out.add(name)
            elif name in names:
                continue
            elif name.lower().endswith(ARCHIVE_EXTENSIONS):
                self._log.add(Code.ARCHIVE_NESTED, f"{name!r} is itself an archive.", path=name)
            else:
                self._log.add(Code.FILE_NOT_JSONL, f"{name!r} is not named like a JSONL file.", path=name)
        if self._files and all(file.split != "train" for file in self._files):
            named = ", ".join(repr(file.name) for file in self._files[:5])
            self._log.add(Code.SPLIT_TRAIN_FILE_MISSING, f"There is {named} and nothing for training.")

    def _read_file(self, number: int, file: DataFile) -> None:
        seen = _FileSeen()
        try:
            for count, (record, parsed) in enumerate(examine(self._source, file.name)):
                if count % _RECORDS_BETWEEN_PROGRESS == 0:
                    self._tell("reading examples", self._done_bytes + record.offset)
                if self._excluded and self._is_excluded(file, record):
                    continue
                if isinstance(parsed, NotAnExample):
                    seen.broken += 1
                    if len(self._first_broken) < _BROKEN_TOLD:
                        self._first_broken.append((self._where(file, record.line), parsed.message))
                    self._note(parsed.code, parsed.message, file, record)
                else:
                    seen.examples += 1
                    self._keep(number, file, record, parsed)
                    self._note_layout(seen, file, record, parsed)
        except FileUnusable as error:
            self._log.add(error.code, error.message, path=file.name, line=error.line)
        else:
            if not seen.examples and not seen.broken:
                self._log.add(Code.FILE_WITHOUT_EXAMPLES, f"{file.name!r} holds no line.", path=file.name)
        if seen.ignored_keys:
            self._note_ignored_keys(file, seen.ignored_keys)
        self._examples[file.split] += seen.examples
        self._broken += seen.broken
        self._done_bytes += self._source.size(file.name)
        self._tell("reading examples", self._done_bytes)

    def _keep(self, number: int, file: DataFile, record: Record, parsed: Parsed) -> None:
        response = parsed.messages[-1].content.strip()
        is_short = len(response) <= _SHORT_CHARACTERS
        for code, message in note_text(parsed, record.data):
            self._note(code, message, file, record)
            is_short = is_short and code is not Code.RESPONSE_TRIVIAL
        if is_short:
            self._short.append(len(self._lines))
            if is_letter(response):
                self._letters.append(len(self._lines))
        if self._one_response is None:
            self._one_response = response
        elif not self._responses_differ:
            self._responses_differ = response != self._one_response
        self._near.add(len(self._lines), parsed.messages)
        self._file_numbers.append(number)
        self._lines.append(record.line)
        self._nths.append(record.nth)
        self._digests.append(digest(parsed.messages))
        self._response_lengths.append(min(len(response), 0xFFFFFFFF))

    def _note_layout(self, seen: _FileSeen, file: DataFile, record: Record, parsed: Parsed) -> None:
        if parsed.ignored_keys:
            for key in parsed.ignored_keys:
                if key not in seen.ignored_keys and len(seen.ignored_keys) <= _MAX_KEYS_SHOWN:
                    seen.ignored_keys[key] = record.line
        if parsed.layout in seen.layouts:
            return
        seen.layouts.add(parsed.layout)
        if self._first_layout is None:
            self._first_layout = (parsed.layout, file.name, record.line)
        layout, name, line = self._first_layout
        if layout != parsed.layout:
            message = f"This line is written as {parsed.layout!r}, line {line} of {name!r} as {layout!r}."
            self._note(Code.LAYOUTS_MIXED, message, file, record)

    def _note_ignored_keys(self, file: DataFile, keys: Mapping[str, int]) -> None:
        shown = ", ".join(map(quoted, list(keys)[:_MAX_KEYS_SHOWN]))
        more = ", …" if len(keys) > _MAX_KEYS_SHOWN else ""
        self._log.add(Code.KEYS_IGNORED, f"Not read: {shown}{more}.", path=file.name, line=min(keys.values()))

    def _note_duplicates(self) -> int:
        """Adds findings about copies and near copies; returns how many copies there are."""
        exact = copies(self._digests)
        for first, copy in exact.tolist():
            self._note_pair(
                first, copy, "is the same as", Code.DUPLICATE_EXAMPLE, Code.DUPLICATE_EXAMPLE_ACROSS_SPLITS
            )
        found = self._near.find(lambda done, total: self._tell("comparing examples", done, total))
        for pair in closest(found, apart_from=exact):
            self._note_pair(
                pair.earlier,
                pair.later,
                f"has about {min(pair.similarity, 0.99):.0%} in common with",
                Code.NEAR_DUPLICATE_EXAMPLE,
                Code.NEAR_DUPLICATE_EXAMPLE_ACROSS_SPLITS,
            )
        self._note_not_compared()
        return len(exact)

    def _note_not_compared(self) -> None:
        if self._near.template_only:
            seen = f"{self._near.template_only} examples differ from many others in a few words only."
            self._log.add(Code.EXAMPLES_OF_TEMPLATE, seen)
        if self._near.left_out:
            seen = (
                f"{self._near.left_out} examples were not compared for near duplicates: there are too many."
            )
            self._log.add(Code.NEAR_DUPLICATES_NOT_SEARCHED, seen)

    def _note_pair(self, earlier: int, later: int, relation: str, within: Code, across: Code) -> None:
        original, file = (self._files[self._file_numbers[each]] for each in (earlier, later))
        where = f"line {self._lines[earlier]}" + ("" if original == file else f" of {original.name!r}")
        message = f"The example {relation} that on {where}"
        if original.split == file.split:
            self._note_at(within, f"{message}.", later)
        else:
            self._note_at(across, f"{message}: one is in {file.split}, one in {original.split}.", later)

    def _note_whole(self) -> None:
        total = len(self._lines) + self._broken
        if not self._lines:
            seen = f"There is no line that can be used as an example.{self._told_broken()}"
            self._log.add(Code.NO_EXAMPLES, seen)
            return
        if self._broken:
            share = self._broken / total
            seen = (
                f"{self._broken} of {total} lines ({share:.1%}) cannot be used; {MAX_BROKEN_SHARE:.0%} may."
            )
            code = Code.LINES_BROKEN if share > MAX_BROKEN_SHARE else Code.LINES_SKIPPED
            figures = {
                "broken": self._broken,
                "total": total,
                "share": f"{share:.1%}",
                "most": f"{MAX_BROKEN_SHARE:.0%}",
            }
            # Of few broken lines the rest of the report tells enough.
            seen += self._told_broken() if code is Code.LINES_BROKEN else ""
            self._log.add(code, seen, figures=figures)
        train = self._examples["train"]
        if 0 < train < MIN_EXAMPLES:
            seen = f"Only {counted(train, 'example')} for training, fewer than {MIN_EXAMPLES}."
            self._log.add(Code.EXAMPLES_FEW, seen, figures={"examples": train, "least": MIN_EXAMPLES})
        if not self._examples["val"] and self._digests.count(self._digests[0]) == len(self._digests):
            self._log.add(Code.EXAMPLES_NOT_SPLITTABLE, "No two examples are different.")
        elif not self._responses_differ and len(self._lines) > 1:
            self._log.add(Code.RESPONSES_ALL_EQUAL, "All examples have the same response.")
        self._note_short_responses()

    def _told_broken(self) -> str:
        """The first lines that cannot be used: some callers are told nothing but why a set is refused."""
        if not self._first_broken:
            return ""
        (place, why), *others = self._first_broken
        more = f" The next: {', '.join(place for place, _ in others)}." if others else ""
        return f" The first is {place}: {why}{more}"

    def _where(self, file: DataFile, line: int) -> str:
        return f"line {line}" + (f" of {file.name!r}" if len(self._files) > 1 else "")

    def _note_short_responses(self) -> None:
        usual = median_low(self._response_lengths)
        if usual < _PHRASE_CHARACTERS:
            return
        short = self._short if usual >= _LONG_CHARACTERS else self._letters
        if len(short) > max(1, _RARE_SHARE * len(self._lines)):
            return
        for position in short:
            length = counted(self._response_lengths[position], "character")
            self._note_at(
                Code.RESPONSE_TRIVIAL, f"The last response has {length}, most have many more.", position
            )

    def _note(self, code: Code, message: str, file: DataFile, record: Record) -> None:
        if record.nth > 1:
            message = f"{message} (Number {record.nth} of those that begin on this line.)"
        self._log.add(code, message, path=file.name, line=record.line)
        if code in self._wanted:
            self.marked.add(address(file.name, record))

    def _note_at(self, code: Code, message: str, position: int) -> None:
        record = Record(self._lines[position], 0, b"", self._nths[position])
        self._note(code, message, self._files[self._file_numbers[position]], record)

    def _is_excluded(self, file: DataFile, record: Record) -> bool:
        place = address(file.name, record)
        if place not in self._excluded:
            return False
        self._left_out.add(place)
        return True

    def _tell(self, stage: str, done: int, total: int | None = None) -> None:
        if self._progress is not None:
            total = self._total_bytes if total is None else total
            self._progress(Progress(stage=stage, done=done, total=total))
