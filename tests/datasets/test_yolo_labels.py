"""Label files: which lines are boxes, which are mistakes, and what is done about hair's breadths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets.yolo_labels import Box, Label, parse_label


def parse(text: str, **options: int) -> Label:
    return parse_label(text.encode(), **{"class_count": 3, "keypoint_values": 0, **options})


def problems(label: Label) -> list[tuple[str, int | None]]:
    return [(problem.code.value, problem.line) for problem in label.problems]


def test_a_line_is_a_class_and_a_box() -> None:
    label = parse("0 0.5 0.5 0.25 0.5\n2 0.25 0.75 0.5 0.125\n")
    assert label.boxes == (Box(0, 0.5, 0.5, 0.25, 0.5), Box(2, 0.25, 0.75, 0.5, 0.125))
    assert label.lines == (1, 2)
    assert label.problems == ()


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n", "\ufeff", "   \n\t\n"])
def test_a_file_without_objects_is_a_background(text: str) -> None:
    assert parse(text).boxes == ()
    assert parse(text).usable


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_line_counts_lines_alike(end: str) -> None:
    assert problems(parse(f"0 0.5 0.5 0.1 0.1{end}{end}9 0.5 0.5 0.1 0.1{end}")) == [
        ("LABEL_CLASS_UNKNOWN", 3)
    ]


def test_a_class_written_as_a_decimal_is_a_class() -> None:
    assert parse("1.0 5e-1 .5 0.2 0.2").boxes == (Box(1, 0.5, 0.5, 0.2, 0.2),)


def test_an_edge_that_rounding_pushed_out_is_clipped_without_a_word() -> None:
    label = parse("0 0.95 0.5 0.100002 1.000001\n")
    assert label.problems == ()
    assert label.boxes[0].x + label.boxes[0].width / 2 == 1
    assert (label.boxes[0].y, label.boxes[0].height) == (0.5, 1)


def test_a_polygon_becomes_the_box_around_it() -> None:
    label = parse("1 0.25 0.25 0.75 0.25 0.5 0.5\n1 0.1 0.1 0.2 0.1 0.2 0.2\n")
    assert label.boxes[0] == Box(1, 0.5, 0.375, 0.5, 0.25)
    assert problems(label) == [("LABEL_CONVERTED", 1)]
    assert label.usable


def test_keypoints_are_left_out() -> None:
    label = parse("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 2", keypoint_values=6)
    assert label.boxes == (Box(0, 0.5, 0.5, 0.2, 0.2),)


def test_a_box_of_less_than_a_pixel_depends_on_the_image() -> None:
    label = parse("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.002 0.2\n")
    assert len(label.at_size(1000, 10).boxes) == 2
    small = label.at_size(100, 10)
    assert small.boxes == label.boxes[:1]
    assert problems(small) == [("LABEL_BOX_TINY", 2)]
    assert small.usable


@pytest.mark.parametrize("word", ["1_0", "0x1", "--1", "½", "1e999", "NaN", "-inf", "0.5;"])
def test_what_is_no_plain_number_is_refused(word: str) -> None:
    assert problems(parse(f"0 0.5 {word} 0.2 0.2")) == [("LABEL_NOT_A_NUMBER", 1)]


def test_without_known_classes_any_sensible_number_is_one() -> None:
    text = b"4711 0.5 0.5 0.2 0.2\n10000 0.5 0.5 0.2 0.2\n"
    label = parse_label(text, class_count=None)
    assert [box.label for box in label.boxes] == [4711]
    assert problems(label) == [("LABEL_CLASS_UNKNOWN", 2)]


def test_a_line_that_is_not_text_is_named() -> None:
    label = parse_label("0 0.5 0.5 0.2 0.2\n".encode("utf-16"), class_count=1)
    assert problems(label) == [("LABEL_NOT_TEXT", 1)]
    assert not label.usable


numbers = st.one_of(
    st.floats().map(repr), st.integers().map(str), st.floats(0, 1).map(repr), st.text(max_size=5)
)


@given(
    st.one_of(st.binary(max_size=200), st.lists(st.lists(numbers, max_size=9).map(" ".join)).map("\n".join))
)
def test_no_bytes_crash_it_and_every_box_lies_in_the_image(data: bytes | str) -> None:
    label = parse_label(data.encode("utf-8", "replace") if isinstance(data, str) else data, class_count=5)
    for box in label.at_size(640, 480).boxes:
        assert 0 <= box.label < 5
        assert box.width * 640 > 0.99 and box.height * 480 > 0.99
        assert box.x - box.width / 2 + 1e-9 >= 0 and box.x + box.width / 2 <= 1 + 1e-9
        assert box.y - box.height / 2 + 1e-9 >= 0 and box.y + box.height / 2 <= 1 + 1e-9
    assert len(label.boxes) == len(label.lines)
