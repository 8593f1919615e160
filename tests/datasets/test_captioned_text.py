"""Captions' bytes, and the estimate of their tokens beside what CLIP's tokenizer counted."""

import pytest

from tuneyard.datasets import Code
from tuneyard.datasets.captioned_text import MAX_CAPTION_BYTES, caption_of, estimated_tokens, read_caption

COUNTED = {
    "a photo of sks dog": 7,
    "masterpiece, best quality, 1girl, solo, long hair, blue eyes, looking at viewer, upper body, outdoors,"
    " cherry blossoms": 29,
    "A watercolor painting of a lighthouse on a rocky cliff at sunset, with waves crashing below and seagulls"
    " circling overhead, in the style of J.M.W. Turner, highly detailed, soft light": 41,
    "flat vector illustration, isometric, #ff8800 background, 1920x1080, ultra-wide (16:9)": 36,
    "ein rotes Haus am See im Nebel, Ölgemälde, impressionistisch": 24,
    "красный дом у озера, масляная живопись": 42,
    "一只红色的猫坐在窗台上，水彩画": 39,
}
"""By OpenAI's CLIP vocabulary, with the marks of the beginning and the end."""


@pytest.mark.parametrize("caption", COUNTED)
def test_the_estimate_is_near_what_clip_counts(caption: str) -> None:
    allowed = 0.1 if caption.isascii() else 0.33
    assert estimated_tokens(caption) == pytest.approx(COUNTED[caption], rel=allowed)


def test_an_empty_caption_is_its_two_marks() -> None:
    assert estimated_tokens("") == 2


def test_lines_and_white_space_become_one_line() -> None:
    caption = read_caption(b"\xef\xbb\xbf a  cat,\r\n\n\ton a mat \n")
    assert (caption.text, caption.lines, caption.problem) == ("a cat, on a mat", 2, None)


def test_what_no_tokenizer_takes_is_left_out() -> None:
    assert caption_of("a\x1b[31m \ud800cat\0").text == "a[31m ?cat"


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        ("a\ncafé".encode("latin-1"), "line 2"),
        ("a cat".encode("utf-16"), "not UTF-8"),
        (b"a\0", "zero"),
        (b"a" * (MAX_CAPTION_BYTES + 1), "bytes"),
    ],
)
def test_what_is_no_text_says_why(data: bytes, seen: str) -> None:
    caption = read_caption(data)
    assert caption.problem is Code.CAPTION_NOT_TEXT and seen in caption.detail and not caption.text
