"""Aspect-ratio buckets: the sizes that images are trained at, so that little of them has to be cut off.

Sizes only; how an image is brought to its bucket's size is in `pixels`.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

MAX_ASPECT_RATIO = 4.0
"""Of the longest buckets; SDXL was trained on no longer ones."""
STEP_PX = 64
"""What the sides of buckets are multiples of: a latent is 8 px wide, and a UNet halves latents thrice."""


@dataclass(frozen=True, order=True, slots=True)
class Bucket:
    """A size in px."""

    width: int
    height: int

    @property
    def aspect_ratio(self) -> float:
        """Width by height."""
        return self.width / self.height


def make_buckets(
    resolution: int, *, step: int = STEP_PX, max_aspect_ratio: float = MAX_ASPECT_RATIO
) -> tuple[Bucket, ...]:
    """The square of `resolution` and longer sizes of at most its area, widest last.

    As NovelAI described it: for each width the largest height that keeps within the area, so that no bucket
    needs more memory than the square. Raises ValueError if `resolution` is below `step`.
    """
    if resolution < step:
        raise ValueError(f"the resolution must be at least {step} px, not {resolution}")
    side = resolution // step * step
    found = {Bucket(side, side)}
    for long in range(side + step, round(side * math.sqrt(max_aspect_ratio)) + step, step):
        short = side * side // long // step * step
        if short and long <= max_aspect_ratio * short:
            found |= {Bucket(long, short), Bucket(short, long)}
    return tuple(sorted(found, key=lambda bucket: (bucket.aspect_ratio, bucket)))


def bucket_of(size: tuple[int, int], buckets: Sequence[Bucket]) -> Bucket:
    """The bucket whose aspect ratio is nearest to that of an image; of equal ones the largest."""
    ratio = math.log(size[0] / size[1])

    def distance(bucket: Bucket) -> tuple[float, int]:
        return round(abs(math.log(bucket.aspect_ratio) - ratio), 9), -bucket.width * bucket.height

    return min(buckets, key=distance)


def cut_share(size: tuple[int, int], bucket: Bucket) -> float:
    """The share of an image that is cut off when it is scaled to cover its bucket."""
    ratio = size[0] / size[1] / bucket.aspect_ratio
    return 1 - min(ratio, 1 / ratio)


def micro_batches(keys: Iterable[Hashable], *, size: int) -> list[list[int]]:
    """The numbers of a step's samples in groups of one key (a bucket) and at most `size`, none left out.

    Groups stand in the order in which their keys first occur.
    """
    by_key: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        by_key.setdefault(key, []).append(number)
    return [
        members[start : start + size] for members in by_key.values() for start in range(0, len(members), size)
    ]
