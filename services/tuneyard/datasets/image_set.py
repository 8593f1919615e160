"""What is kept of all images of a dataset while it is checked, and what only all of them together show.

Every format that holds images uses it; splits and labels come from the format.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan
from typing import Self

from tuneyard.datasets.codes import Code
from tuneyard.datasets.contents import Contents
from tuneyard.datasets.duplicates import (
    Copies,
    NearCopies,
    Placed,
    note_duplicates,
    note_near_duplicates,
)
from tuneyard.datasets.images import (
    DEFAULT_IMAGE_LIMITS,
    ImageFacts,
    ImageLimits,
    examine_all,
    note_broken_share,
    note_image,
)
from tuneyard.datasets.progress import Progress, ProgressCallback
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source

_COLOURED, _GREY = 0, 1
_BROKEN = -1


class ImageSet:
    """The images of one dataset, numbered in the order of their names: less than a hundred bytes of each in
    memory, since there may be millions.
    """

    def __init__(self, names: Sequence[str], *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> None:
        # Late, as in `images`.
        from tuneyard.datasets.near_duplicates import Pictures

        self.contents = array("i")
        """Of each image a number that it shares with equal ones; negative where it cannot be used."""
        self.broken: list[str] = []
        self._names = names
        self._limits = limits
        self._known = Contents()
        self._copied: set[int] = set()
        self._widths, self._heights = array("I"), array("I")
        self._sharpness = array("f")
        self._colours = array("b")
        self._pictures = Pictures()
        self._pictured = array("i")

    @classmethod
    def read(
        cls,
        log: FindingLog,
        source: Source,
        names: Sequence[str],
        *,
        limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
        progress: ProgressCallback | None = None,
        workers: int | None = None,
    ) -> Self:
        """Reads each image once, and adds every finding about single images and about all of them."""
        images = cls(names, limits=limits)
        for facts in examine_all(source, names, limits=limits, progress=progress, workers=workers):
            note_image(log, facts, limits=limits)
            images.add(facts)
        note_broken_share(log, len(images.broken), len(names), limits=limits)
        images.note_unlike_others(log)
        return images

    def add(self, facts: ImageFacts) -> None:
        """Keeps what is needed of the image that is next in the order of the names."""
        if facts.problem is not None or facts.look is None:
            self.broken.append(facts.name)
            self.contents.append(_BROKEN)
            self._sharpness.append(float("nan"))
            self._colours.append(_BROKEN)
            return
        known = len(self._known)
        content = self._known.number(facts.digest)
        is_blank = facts.look.span <= self._limits.max_blank_span
        if content < known:
            self._copied.add(content)
        elif not is_blank:
            self._pictures.add(facts.look)
            self._pictured.append(len(self.contents))
        self.contents.append(content)
        self._widths.append(facts.width)
        self._heights.append(facts.height)
        self._sharpness.append(float("nan") if is_blank else facts.look.sharpness)
        self._colours.append(_GREY if facts.is_grey else _COLOURED)

    @property
    def median_size(self) -> tuple[int, int]:
        """Median width and height of the usable images in pixels; zeros without any."""
        return _median_low(self._widths), _median_low(self._heights)

    @property
    def sides(self) -> dict[int, int]:
        """How many usable images have a longer side up to each power of two in pixels."""
        longer = Counter(map(max, self._widths, self._heights))
        found = Counter[int]()
        for side, images in longer.items():
            found[1 << (side - 1).bit_length()] += images
        return dict(sorted(found.items()))

    def note_unlike_others(self, log: FindingLog) -> None:
        """Adds findings about blurred images among sharp ones, and about grey or coloured odd ones."""
        usual = _third_quartile(self._sharpness)
        bound = min(self._limits.max_blurred_sharpness, self._limits.max_blurred_share * usual)
        greys, coloured = self._colours.count(_GREY), self._colours.count(_COLOURED)
        odd = _GREY if greys <= coloured else _COLOURED
        is_mixed = greys > 0 and coloured > 0
        for name, sharpness, colour in zip(self._names, self._sharpness, self._colours, strict=True):
            if sharpness < bound:
                seen = f"{name!r} is strongly blurred: nothing on it is sharp, unlike on most of the others."
                log.add(Code.IMAGE_BLURRED, seen, path=name)
            if is_mixed and colour == odd:
                kinds = ("grey", "coloured") if odd == _GREY else ("coloured", "grey")
                seen = f"{name!r} is {kinds[0]}, and most of the others are {kinds[1]}."
                log.add(Code.IMAGE_COLOUR_UNLIKE_OTHERS, seen, path=name)

    def note_copies(
        self, log: FindingLog, placed: Iterable[Placed], *, progress: ProgressCallback | None = None
    ) -> Copies:
        """Adds findings about equal and nearly equal images, by where they are; `placed` are usable ones."""

        def told(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress(stage="comparing images", done=done, total=total))

        numbers = self._pictured
        alike = self._pictures.alike(told)
        pairs = [(numbers[pair.one], numbers[pair.other]) for pair in alike]
        near = [
            NearCopies(self._names[one], self._names[other], mirrored=pair.mirrored)
            for (one, other), pair in zip(pairs, alike, strict=True)
        ]
        nearly_alike = {name for each in near for name in (each.one, each.other)}
        total, looked_at = 0, list[Placed]()
        for item in placed:
            total += 1
            if item.content in self._copied or item.name in nearly_alike:
                looked_at.append(item)
        copies = note_duplicates(log, looked_at, total=total)
        note_near_duplicates(log, looked_at, near)
        return Copies(count=copies, near=tuple(pairs))


def _third_quartile(values: Sequence[float]) -> float:
    known = array("f", (value for value in values if not isnan(value)))
    return _ranked(known, 3 * len(known) // 4)


def _median_low(values: "array[int]") -> int:
    return round(_ranked(values, (len(values) - 1) // 2))


def _ranked(values: "array[int] | array[float]", rank: int) -> float:
    """The value that so many are below; 0 without any. A sorted list would take forty bytes of each."""
    import numpy as np

    return float(np.partition(np.frombuffer(values, dtype=values.typecode), rank)[rank]) if values else 0.0
