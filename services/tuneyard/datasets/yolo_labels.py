"""Reads YOLO label files: a line for each object, its class and its box as shares of the image's size.

Looks at one file's bytes; which image they belong to is decided elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.yolo_yaml import MAX_CLASSES

MAX_LABEL_BYTES = 16 << 20

_BOX_COLUMNS = 5
_MIN_POLYGON_COLUMNS = 7
# Six decimals and float32 leave errors of 1e-7 to 1e-5; real mistakes are far larger.
_ROUNDING = 1e-3
# How far a box may reach over the edge without remark: a few pixels of rounding in the annotating tool.
_OVERHANG = 0.01


class Box(NamedTuple):
    """An object: its class's number, and its box's centre and size as shares of the upright image, 0 to 1."""

    label: int
    x: float
    y: float
    width: float
    height: float


class Problem(NamedTuple):
    """Something about one line, or about the file where `line` is None."""

    code: Code
    line: int | None
    message: str


_UNUSABLE = frozenset(
    {
        Code.LABEL_NOT_TEXT,
        Code.LABEL_TOO_LARGE,
        Code.LABEL_COLUMNS,
        Code.LABEL_NOT_A_NUMBER,
        Code.LABEL_CLASS_NOT_INTEGER,
        Code.LABEL_CLASS_UNKNOWN,
        Code.LABEL_OUT_OF_RANGE,
        Code.LABEL_SIZE_NOT_POSITIVE,
    }
)


@dataclass(frozen=True)
class Label:
    """The objects of one image. Boxes are clipped to the image, and none stands there twice."""

    boxes: tuple[Box, ...] = ()
    lines: tuple[int, ...] = ()
    """The line of each box."""
    problems: tuple[Problem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the file names no object, not even a wrong one."""
        return not self.boxes and not self.problems

    @property
    def usable(self) -> bool:
        """Whether every line says what an object is: without one, the image would teach a falsehood."""
        return not any(problem.code in _UNUSABLE for problem in self.problems)

    def at_size(self, width: int, height: int) -> "Label":
        """The label of an image of so many pixels, without boxes that cover less than one."""
        tiny = [
            number
            for number, box in enumerate(self.boxes)
            if box.width * width < 1 - _ROUNDING or box.height * height < 1 - _ROUNDING
        ]
        if not tiny:
            return self
        problems = [
            Problem(
                Code.LABEL_BOX_TINY,
                self.lines[number],
                f"the box is {self.boxes[number].width * width:.2f} x"
                f" {self.boxes[number].height * height:.2f} pixels",
            )
            for number in tiny
        ]
        kept = [number for number in range(len(self.boxes)) if number not in tiny]
        return Label(
            boxes=tuple(self.boxes[number] for number in kept),
            lines=tuple(self.lines[number] for number in kept),
            problems=(*self.problems, *problems),
        )


def label_too_large(size_bytes: int) -> Label:
    """The label in a file that is too large to be read."""
    seen = f"{size_bytes} bytes; the limit is {MAX_LABEL_BYTES}"
    return Label(problems=(Problem(Code.LABEL_TOO_LARGE, None, seen),))


def parse_label(data: bytes, *, class_count: int | None, keypoint_values: int = 0) -> Label:
    """The boxes in a file and what is wrong with it; `class_count` is None where the classes are unknown."""
    parser = _Parser(class_count, keypoint_values)
    parser.parse(data)
    return Label(tuple(parser.boxes), tuple(parser.lines), tuple(parser.problems))


def note_label(log: FindingLog, name: str, label: Label) -> None:
    """Adds the findings about one label file."""
    for problem in label.problems:
        where = f"line {problem.line} of {name!r}" if problem.line else repr(name)
        log.add(problem.code, f"In {where}: {problem.message}.", path=name, line=problem.line)


class _Parser:
    """Collects the boxes and problems of one file."""

    def __init__(self, class_count: int | None, keypoint_values: int) -> None:
        self._class_count = class_count
        self._keypoint_columns = _BOX_COLUMNS + keypoint_values if keypoint_values else None
        self.boxes: list[Box] = []
        self.lines: list[int] = []
        self.problems: list[Problem] = []
        self._seen: dict[tuple[float, ...], Box] = {}
        self._converted = False

    def parse(self, data: bytes) -> None:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._note(Code.LABEL_NOT_TEXT, line, "the bytes are not UTF-8 text")
            return
        if data.startswith(b"\xef\xbb\xbf"):
            self._note(Code.LABEL_BYTE_ORDER_MARK, 1, "the file begins with a byte order mark")
        # Not splitlines(), which also breaks at characters that no editor shows as an end of line.
        for number, row in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
            if columns := row.split():
                self._row(number, columns)

    def _row(self, line: int, columns: Sequence[str]) -> None:
        count = len(columns)
        is_pose = count == self._keypoint_columns
        is_polygon = not is_pose and count >= _MIN_POLYGON_COLUMNS and count % 2 == 1
        if count != _BOX_COLUMNS and not is_pose and not is_polygon:
            self._note(Code.LABEL_COLUMNS, line, f"{count} columns where a class and 4 numbers are expected")
            return
        numbers = self._numbers(line, columns)
        if numbers is None:
            return
        label = self._label(line, columns[0], numbers[0])
        if label is None:
            return
        values = numbers[1:] if is_polygon else numbers[1:_BOX_COLUMNS]
        outside = next((value for value in values if not -_ROUNDING <= value <= 1 + _ROUNDING), None)
        if is_polygon or is_pose:
            self._note_converted(line, is_polygon)
        if not is_polygon and min(values[2:]) <= 0:
            self._note(Code.LABEL_SIZE_NOT_POSITIVE, line, f"the box's size is {values[2]:g} x {values[3]:g}")
        elif outside is not None:
            hint = "; that looks like pixels" if outside > 2 else ""
            self._note(Code.LABEL_OUT_OF_RANGE, line, f"{outside:g} does not lie between 0 and 1{hint}")
        else:
            self._box(line, _around(label, values) if is_polygon else Box(label, *values))

    def _numbers(self, line: int, columns: Sequence[str]) -> list[float] | None:
        numbers: list[float] = []
        for column in columns:
            try:
                # float() also takes 1_000, which no other reader of labels does.
                value = math.nan if "_" in column else float(column)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                self._note(Code.LABEL_NOT_A_NUMBER, line, f"{column[:40]!r} is not a number")
                return None
            numbers.append(value)
        return numbers

    def _label(self, line: int, written: str, value: float) -> int | None:
        if not value.is_integer():
            self._note(
                Code.LABEL_CLASS_NOT_INTEGER, line, f"the class {written[:40]!r} is not a whole number"
            )
            return None
        highest = (MAX_CLASSES if self._class_count is None else self._class_count) - 1
        if not 0 <= value <= highest:
            seen = f"there is no class {value:.0f}; the classes are 0 to {highest}"
            self._note(Code.LABEL_CLASS_UNKNOWN, line, seen)
            return None
        return int(value)

    def _box(self, line: int, written: Box) -> None:
        box = self._clipped(line, written)
        if box is None:
            return
        label = box.label
        key = tuple(round(value, 6) for value in box[1:])
        twin = self._seen.get(key)
        if twin is not None and twin.label == label:
            self._note(Code.LABEL_BOX_REPEATED, line, "the same object stands in an earlier line")
            return
        if twin is not None:
            seen = f"the same box is of class {twin.label} in an earlier line, and of class {label} here"
            self._note(Code.LABEL_BOX_IN_CLASSES, line, seen)
        self._seen[key] = box
        self.boxes.append(box)
        self.lines.append(line)

    def _clipped(self, line: int, box: Box) -> Box | None:
        corners = _corners(box)
        x_min, y_min, x_max, y_max = corners
        overhang = max(-x_min, -y_min, x_max - 1, y_max - 1)
        if overhang > _OVERHANG:
            seen = f"the box reaches out of the image by {overhang:.1%} of its size and is cut off there"
            self._note(Code.LABEL_BOX_CUT, line, seen)
        if overhang > 0:
            # A box inside is kept as it is written, to the last digit.
            x_min, y_min, x_max, y_max = (min(max(value, 0.0), 1.0) for value in corners)
        if x_max <= x_min or y_max <= y_min:
            self._note(Code.LABEL_SIZE_NOT_POSITIVE, line, "the object has no area inside the image")
            return None
        return _box_of(box.label, x_min, y_min, x_max, y_max) if overhang > 0 else box

    def _note_converted(self, line: int, is_polygon: bool) -> None:
        # Once a file: in a dataset for another task every line is so.
        if not self._converted:
            self._converted = True
            what = (
                "polygons are turned into the boxes around them" if is_polygon else "keypoints are left out"
            )
            self._note(Code.LABEL_CONVERTED, line, what)

    def _note(self, code: Code, line: int | None, message: str) -> None:
        self.problems.append(Problem(code, line, message))


def _corners(box: Box) -> tuple[float, float, float, float]:
    return (
        box.x - box.width / 2,
        box.y - box.height / 2,
        box.x + box.width / 2,
        box.y + box.height / 2,
    )


def _box_of(label: int, x_min: float, y_min: float, x_max: float, y_max: float) -> Box:
    return Box(label, (x_min + x_max) / 2, (y_min + y_max) / 2, x_max - x_min, y_max - y_min)


def _around(label: int, points: Sequence[float]) -> Box:
    """The box around a polygon, whose corners are x, y, x, y and so on."""
    return _box_of(label, min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2]))
