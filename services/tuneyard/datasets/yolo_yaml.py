"""Reads a stranger's data.yaml: paths of the splits and names of the classes, each with its line.

Nothing in it is executed, followed or handed on. The YAML is parsed into nodes and no further: aliases are
not expanded, tags construct nothing, and a class called `no` stays one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog

MAX_YAML_BYTES = 1 << 19
MAX_CLASSES = 10_000

_MAX_DIGITS = 9

_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_STANDARD_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    _STANDARD_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
)
_NULL, _LIST, _MAP = (_STANDARD_TAG + name for name in ("null", "seq", "map"))


class Entry(NamedTuple):
    """A value as it is written, and its line."""

    text: str
    line: int


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says; what is wrong in it is noted elsewhere and left out here."""

    name: str
    path: Entry | None = None
    """The folder that the splits are relative to, by the one who wrote it."""
    splits: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    """By "train", "val" and "test", the folders or lists of images."""
    classes: tuple[str, ...] | None = None
    names_refused: bool = False
    """Whether it names classes in a way that is of no use, or may do so and cannot be read."""
    keypoint_values: int = 0
    """How many numbers follow the box in a label of a pose dataset."""


def parse_data_yaml(data: bytes, *, name: str, log: FindingLog) -> DataYaml:
    """Reads the file's bytes and notes what is wrong or ignored, at its line."""
    try:
        top = _compose(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "it cannot be parsed"
        log.add(
            Code.YAML_INVALID,
            f"{name!r} is not valid YAML: {what}.",
            path=name,
            line=mark.line + 1 if mark else None,
        )
        return DataYaml(name, names_refused=True)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n")[0]
        log.add(Code.YAML_INVALID, f"{name!r} cannot be read: {what.rstrip('.')}.", path=name)
        return DataYaml(name, names_refused=True)
    if not isinstance(top, yaml.MappingNode):
        log.add(Code.YAML_INVALID, f"{name!r} holds no keys such as train, val and names.", path=name, line=1)
        return DataYaml(name, names_refused=True)
    return _Reader(name, log).read(top)


def _compose(data: bytes) -> yaml.Node | None:
    if len(data) > MAX_YAML_BYTES:
        raise ValueError(f"it has more than {MAX_YAML_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    return node


class _Reader:
    """Turns the nodes of one file into values."""

    def __init__(self, name: str, log: FindingLog) -> None:
        self._name = name
        self._log = log
        self._keys: dict[str, yaml.Node] = {}

    def read(self, top: yaml.MappingNode) -> DataYaml:
        values = self._values(top)
        path = next(iter(self._entries("path", values.pop("path", None))), None)
        splits: dict[str, tuple[Entry, ...]] = {}
        for key, split in _SPLIT_KEYS.items():
            if entries := tuple(self._entries(key, values.pop(key, None))):
                splits[split] = (*splits.get(split, ()), *entries)
        names = values.pop("names", None)
        classes = self._classes(names, values.pop("nc", None))
        keypoint_values = self._keypoint_values(values.get("kpt_shape"))
        for key in values:
            self._note_unused(key, self._keys[key])
        return DataYaml(
            name=self._name,
            path=path,
            splits=splits,
            classes=classes,
            names_refused=classes is None and names is not None and names.tag != _NULL,
            keypoint_values=keypoint_values,
        )

    def _values(self, top: yaml.MappingNode) -> dict[str, yaml.Node]:
        values: dict[str, yaml.Node] = {}
        self._keys = {key.value: key for key, _ in top.value if isinstance(key, yaml.ScalarNode)}
        for key, value in top.value:
            if not isinstance(key, yaml.ScalarNode):
                self._add(Code.YAML_INVALID, "a key is not a word", key)
                continue
            if key.value in values:
                self._add(
                    Code.YAML_KEY_REPEATED, f"{key.value!r} stands there twice; the last one counts", key
                )
            values[key.value] = value
        return values

    def _entries(self, key: str, node: yaml.Node | None) -> Iterator[Entry]:
        """The texts of a value that is one text or a list of them."""
        if node is None or node.tag == _NULL:
            return
        items = node.value if isinstance(node, yaml.SequenceNode) and node.tag == _LIST else [node]
        for item in items:
            if _is_plain(item) and item.value.strip():
                yield Entry(item.value.strip(), _line(item))
            else:
                self._add(Code.YAML_INVALID, f"{key!r} must be a path or a list of paths", item)

    def _classes(self, names: yaml.Node | None, nc: yaml.Node | None) -> tuple[str, ...] | None:
        count = self._count(nc)
        if names is None or names.tag == _NULL:
            return None if count is None else tuple(map(str, range(count)))
        found = self._names(names)
        if found is not None and count is not None and count != len(found):
            assert nc is not None
            seen = f"nc is {count}, and names has {len(found)} names"
            self._add(Code.YAML_NC_MISMATCH, seen, nc)
        return found

    def _count(self, nc: yaml.Node | None) -> int | None:
        if nc is None or nc.tag == _NULL:
            return None
        count = _whole_number(nc)
        if count is not None and 0 < count <= MAX_CLASSES:
            return count
        self._add(Code.YAML_INVALID, f"nc must be a number of classes from 1 to {MAX_CLASSES}", nc)
        return None

    def _names(self, node: yaml.Node) -> tuple[str, ...] | None:
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            names = list(node.value)
        elif isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            ordered = self._in_order(node)
            if ordered is None:
                return None
            names = ordered
        else:
            self._add(Code.YAML_NAMES_INVALID, "names must be a list, or a map from numbers to names", node)
            return None
        if not 0 < len(names) <= MAX_CLASSES:
            self._add(Code.YAML_NAMES_INVALID, f"names must have from 1 to {MAX_CLASSES} names", node)
            return None
        for name in names:
            if not (_is_plain(name) and name.value.strip()):
                self._add(Code.YAML_NAMES_INVALID, "a class's name must be a text that is not empty", name)
                return None
        self._note_repeated(names)
        return tuple(name.value.strip() for name in names)

    def _in_order(self, node: yaml.MappingNode) -> list[yaml.Node] | None:
        numbered: dict[int, yaml.Node] = {}
        for key, value in node.value:
            number = _whole_number(key)
            if number is None:
                self._add(Code.YAML_NAMES_INVALID, "a class's number must be a whole number from 0 up", key)
                return None
            if number in numbered:
                self._add(Code.YAML_NAMES_INVALID, f"class {number} is named twice", key)
                return None
            numbered[number] = value
        if sorted(numbered) != list(range(len(numbered))):
            missing = next(number for number in range(len(numbered)) if number not in numbered)
            seen = f"the classes must be numbered from 0 without a gap; {missing} is missing"
            self._add(Code.YAML_NAMES_INVALID, seen, node)
            return None
        return [numbered[number] for number in range(len(numbered))]

    def _note_repeated(self, names: list[yaml.Node]) -> None:
        seen: set[str] = set()
        for name in names:
            text = name.value.strip()
            if text in seen:
                self._add(Code.CLASS_NAME_REPEATED, f"two classes have the name {text!r}", name)
            seen.add(text)

    def _keypoint_values(self, node: yaml.Node | None) -> int:
        if not isinstance(node, yaml.SequenceNode):
            return 0
        numbers = [_whole_number(item) for item in node.value]
        if len(numbers) != len(("points", "values")) or numbers[0] is None or numbers[1] is None:
            return 0
        return numbers[0] * numbers[1]

    def _note_unused(self, key: str, node: yaml.Node) -> None:
        if key == "download":
            self._add(Code.YAML_DOWNLOAD_IGNORED, "'download' would run a program or fetch files", node)
        else:
            self._add(Code.YAML_KEY_IGNORED, f"{key[:80]!r} is not used", node)

    def _add(self, code: Code, seen: str, node: yaml.Node) -> None:
        self._log.add(code, f"In {self._name!r} {seen}.", path=self._name, line=_line(node))


def _is_plain(node: yaml.Node) -> bool:
    """Whether a value is a single one, without a tag that asks for anything else."""
    return isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS


def _whole_number(node: yaml.Node) -> int | None:
    """A value from 0 up in plain digits, and in no more of them than make sense."""
    text = node.value if _is_plain(node) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
