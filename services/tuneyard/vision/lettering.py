"""How classes are called on pictures: by their names, or by numbers where there are no letters for them.

matplotlib's font, which comes with the package, knows Latin, Greek, Cyrillic, Hebrew and Arabic letters; no
font that ships with a package knows more. Reports and metrics hold the names themselves.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

_NO_CHARACTER = "\uffff"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that charts have too, found without importing matplotlib, which takes a second."""
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return ImageFont.truetype(
        Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size
    )


def shown_names(names: Sequence[str]) -> list[str]:
    """The names; in place of those with letters that the font lacks "class 3", by their numbers from 0."""
    return [
        name if all(_has_letter(letter) for letter in name) else f"class {number}"
        for number, name in enumerate(names)
    ]


@cache
def _has_letter(letter: str) -> bool:
    if letter.isspace():
        return True
    drawn, missing = (bytes(font(16).getmask(text)) for text in (letter, _NO_CHARACTER))
    return drawn != missing
