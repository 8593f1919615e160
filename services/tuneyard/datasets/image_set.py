"""What is kept of all images of a dataset while it is checked, and what only all of them together show.

Every format that holds images uses it; splits and labels come from the format.
"""

from array import array
from collections.abc import Sequence
from math import isnan
from typing import Self

from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import Copies, Placed, note_duplicates, note_near_duplicates
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


class ImageSet:
    """The images of one dataset: some hundred bytes of each, since there may be millions."""

    def __init__(self, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> None:
        # Late, as in `images`.
        from tuneyard.datasets.near_duplicates import Pictures

        self.digests: dict[str, bytes] = {}
        """The SHA-256 of each usable image's file, by name."""
        self.broken: list[str] = []
        self.widths, self.heights = array("L"), array("L")
        self._limits = limits
        self._sharpness = array("f")
        self._grey = bytearray()
        self._seen: set[bytes] = set()
        self._pictures = Pictures()
        self._pictured: list[str] = []

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
        images = cls(limits=limits)
        for facts in examine_all(source, names, limits=limits, progress=progress, workers=workers):
            note_image(log, facts, limits=limits)
            images.add(facts)
        note_broken_share(log, len(images.broken), len(names), limits=limits)
        images.note_unlike_others(log)
        return images

    def add(self, facts: ImageFacts) -> None:
        """Keeps what is needed of one image."""
        if facts.problem is not None or facts.look is None:
            self.broken.append(facts.name)
            return
        self.digests[facts.name] = facts.digest
        self.widths.append(facts.width)
        self.heights.append(facts.height)
        is_blank = facts.look.span <= self._limits.max_blank_span
        self._sharpness.append(float("nan") if is_blank else facts.look.sharpness)
        self._grey.append(facts.is_grey)
        if not is_blank and facts.digest not in self._seen:
            self._pictures.add(facts.look)
            self._pictured.append(facts.name)
        self._seen.add(facts.digest)

    def note_unlike_others(self, log: FindingLog) -> None:
        """Adds findings about blurred images among sharp ones, and about grey or coloured odd ones."""
        usual = _third_quartile([value for value in self._sharpness if not isnan(value)])
        bound = min(self._limits.max_blurred_sharpness, self._limits.max_blurred_share * usual)
        greys = sum(self._grey)
        odd_is_grey = greys <= len(self._grey) - greys
        is_mixed = 0 < greys < len(self._grey)
        for name, sharpness, is_grey in zip(self.digests, self._sharpness, self._grey, strict=True):
            if sharpness < bound:
                seen = f"{name!r} is strongly blurred: nothing on it is sharp, unlike on most of the others."
                log.add(Code.IMAGE_BLURRED, seen, path=name)
            if is_mixed and bool(is_grey) == odd_is_grey:
                kinds = ("grey", "coloured") if is_grey else ("coloured", "grey")
                seen = f"{name!r} is {kinds[0]}, and most of the others are {kinds[1]}."
                log.add(Code.IMAGE_COLOUR_UNLIKE_OTHERS, seen, path=name)

    def note_copies(
        self, log: FindingLog, placed: Sequence[Placed], *, progress: ProgressCallback | None = None
    ) -> Copies:
        """Adds findings about equal and nearly equal images, by where they are; `placed` are usable ones."""

        def told(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress(stage="comparing images", done=done, total=total))

        names = self._pictured
        pairs = [(names[one], names[other]) for one, other in self._pictures.alike(told)]
        copies = note_duplicates(log, placed)
        note_near_duplicates(log, placed, pairs)
        return Copies(count=copies, near=tuple(pairs))


def _third_quartile(values: list[float]) -> float:
    return sorted(values)[3 * len(values) // 4] if values else 0.0
