"""Looks at single image files: reads each completely, once, and says what it is or why it cannot be used.

Knows nothing of classes, labels or splits; every format that holds images uses it.
"""

import hashlib
import io
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from tuneyard.datasets.codes import Code
from tuneyard.datasets.names import IMAGE_FORMATS, extension
from tuneyard.datasets.orientation import orientation
from tuneyard.datasets.progress import Progress, ProgressCallback
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source

if TYPE_CHECKING:
    from tuneyard.datasets.appearance import Appearance

# Only these decoders meet a stranger's bytes: others, such as EPS, start programs.
_FORMATS = sorted(set(IMAGE_FORMATS.values()))
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
# A JPEG is decoded at the smallest of its scales that is no smaller than this: it costs less, shows what a
# picture looks like, and finds the same damage because all coded bytes are still read.
_DECODED_SIDE = 256
_BATCH_FILES = 16
_MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """When an image is too large to look at, when it is remarkable, and how many broken ones are too many."""

    max_pixels: int = 89_478_485
    """Pillow's own bound against decompression bombs: a quarter of a gigabyte as RGB."""
    max_file_bytes: int = 256 << 20
    max_broken_share: float = 0.05
    """Above this share of unusable images the dataset is refused; below, they are skipped."""
    min_side_pixels: int = 4
    max_side_pixels: int = 8192
    max_aspect_ratio: int = 20
    max_blank_span: int = 16
    """An image whose averaged pixels differ by no more than this, of 255, shows nothing."""
    max_blurred_sharpness: float = 0.045
    """Sharpness is that of `Appearance`; photographs in focus reach 0.08 to 1.7."""
    max_blurred_share: float = 0.1
    """And only what is so much less sharp than most of its dataset is called blurred: drawings and enlarged
    pictures are soft all together."""


DEFAULT_IMAGE_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What reading a file showed; `problem` is set if it cannot be used, and then the rest may be missing.

    Width and height are those of the stored pixels: see `orientation`.
    """

    name: str
    digest: bytes
    format: str = ""
    width: int = 0
    height: int = 0
    problem: Code | None = None
    detail: str = ""
    orientation: int = 1
    """As in EXIF: 1 is upright, 2 to 8 are turned or mirrored; from 5 on width and height change places."""
    mode: str = ""
    """Pillow's name for the kind of its pixels, such as "RGB"."""
    transparent: bool = False
    """Whether some pixel is not opaque."""
    animated: bool = False
    """Whether there are frames or pages after the first one."""
    look: "Appearance | None" = None

    @property
    def is_grey(self) -> bool:
        """Whether it is stored without colours."""
        return self.mode in _GREY_MODES or self.mode.startswith(("I", "F"))

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as people see it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def examine(source: Source, name: str, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> ImageFacts:
    """Reads and decodes one file. Raises only for what is no fault of the image (`ArchiveError`, OSError)."""
    size = source.size(name)
    if size > limits.max_file_bytes:
        detail = f"{name!r} has {size} bytes; the limit is {limits.max_file_bytes}."
        return ImageFacts(name, b"", problem=Code.IMAGE_TOO_LARGE, detail=detail)
    data = source.read(name)
    digest = hashlib.sha256(data).digest()
    if not data:
        return ImageFacts(name, digest, problem=Code.IMAGE_EMPTY, detail=f"{name!r} has no bytes.")
    return _decode(name, data, digest, limits)


def _decode(name: str, data: bytes, digest: bytes, limits: ImageLimits) -> ImageFacts:
    # Late, because numpy is slow to import and most users of this package look at no image.
    from tuneyard.datasets.appearance import measure

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                detail = f"{name!r} has {width} x {height} pixels; the limit is {limits.max_pixels} in all."
                return ImageFacts(name, digest, problem=Code.IMAGE_TOO_LARGE, detail=detail)
            mode = image.mode
            image.draft("RGB", (_DECODED_SIDE, _DECODED_SIDE))
            image.load()
            # A JPEG with several pictures (MPO, from phones) is read as its first picture.
            format_name = "JPEG" if image.format == "MPO" else image.format or ""
            return ImageFacts(
                name,
                digest,
                format_name,
                width,
                height,
                orientation=orientation(image),
                mode=mode,
                transparent=_is_transparent(image),
                look=measure(image),
                animated=format_name != "JPEG" and bool(getattr(image, "is_animated", False)),
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        detail = f"{name!r} has far more pixels than an image for training needs."
        return ImageFacts(name, digest, problem=Code.IMAGE_TOO_LARGE, detail=detail)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        return _broken(name, digest, error)


def _is_transparent(image: Image.Image) -> bool:
    if image.mode in ("LA", "PA", "RGBA"):
        return image.getchannel("A").histogram()[255] < image.width * image.height
    if image.mode == "P" and "transparency" in image.info:
        return _is_transparent(image.convert("RGBA"))
    return False


def _broken(name: str, digest: bytes, error: Exception) -> ImageFacts:
    text = str(error)
    if "out of memory" in text:
        raise MemoryError(text) from error
    if isinstance(error, UnidentifiedImageError):
        detail = f"{name!r} is not an image in any format that is read ({', '.join(_FORMATS)})."
        return ImageFacts(name, digest, problem=Code.IMAGE_UNREADABLE, detail=detail)
    cut = "truncated" in text.lower() or isinstance(error, EOFError)
    code = Code.IMAGE_TRUNCATED if cut else Code.IMAGE_UNREADABLE
    return ImageFacts(
        name, digest, problem=code, detail=f"{name!r} cannot be decoded: {text or type(error).__name__}."
    )


def examine_all(
    source: Source,
    names: Sequence[str],
    *,
    limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
    progress: ProgressCallback | None = None,
    workers: int | None = None,
) -> Generator[ImageFacts, None, None]:
    """Examines many files in their order, in flat memory.

    Threads, because decoding, inflating and hashing all release the interpreter's lock.
    """
    workers = workers or min(_MAX_WORKERS, os.cpu_count() or 1)

    def run(batch: Sequence[str]) -> list[ImageFacts]:
        return [examine(source, name, limits=limits) for name in batch]

    done = 0
    waiting: deque[Future[list[ImageFacts]]] = deque()

    def finish() -> list[ImageFacts]:
        nonlocal done
        facts = waiting.popleft().result()
        done += len(facts)
        if progress is not None:
            progress(Progress(stage="reading images", done=done, total=len(names)))
        return facts

    pool = ThreadPoolExecutor(workers, thread_name_prefix="examine")
    try:
        for start in range(0, len(names), _BATCH_FILES):
            waiting.append(pool.submit(run, names[start : start + _BATCH_FILES]))
            # No more results than this are held, however many files there are.
            if len(waiting) > 2 * workers:
                yield from finish()
        while waiting:
            yield from finish()
    finally:
        pool.shutdown(cancel_futures=True)


def note_image(log: FindingLog, facts: ImageFacts, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> None:
    """Adds the findings about one image by itself."""
    if facts.problem is not None:
        log.add(facts.problem, facts.detail, path=facts.name)
        return
    promised = IMAGE_FORMATS[extension(facts.name)]
    if promised != facts.format:
        log.add(
            Code.IMAGE_WRONG_EXTENSION,
            f"{facts.name!r} is a {facts.format} image, not {promised}.",
            path=facts.name,
        )
    _note_shape(log, facts, limits)
    _note_pixels(log, facts, limits)


def _note_shape(log: FindingLog, facts: ImageFacts, limits: ImageLimits) -> None:
    short, long = sorted((facts.width, facts.height))
    shape = f"{facts.name!r} has {facts.width} x {facts.height} pixels."
    if short < limits.min_side_pixels:
        log.add(Code.IMAGE_VERY_SMALL, shape, path=facts.name)
    elif long > limits.max_aspect_ratio * short:
        log.add(Code.IMAGE_EXTREME_SHAPE, shape, path=facts.name)
    if long > limits.max_side_pixels:
        log.add(Code.IMAGE_VERY_LARGE, shape, path=facts.name)
    if facts.orientation != 1:
        seen = f"{facts.name!r} is stored turned or mirrored (EXIF orientation {facts.orientation})."
        log.add(Code.IMAGE_ROTATED, seen, path=facts.name)


def _note_pixels(log: FindingLog, facts: ImageFacts, limits: ImageLimits) -> None:
    if facts.mode in ("CMYK", "YCCK"):
        log.add(Code.IMAGE_CMYK, f"{facts.name!r} has the colours of a printer (CMYK).", path=facts.name)
    if facts.transparent:
        log.add(Code.IMAGE_TRANSPARENT, f"{facts.name!r} has transparent pixels.", path=facts.name)
    if facts.animated:
        seen = f"{facts.name!r} has several frames or pages."
        log.add(Code.IMAGE_SEVERAL_FRAMES, seen, path=facts.name)
    is_placeholder = min(facts.width, facts.height) < limits.min_side_pixels
    if facts.look is not None and facts.look.span <= limits.max_blank_span and not is_placeholder:
        log.add(Code.IMAGE_BLANK, f"{facts.name!r} has one colour all over.", path=facts.name)


def note_broken_share(
    log: FindingLog, broken: int, total: int, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> None:
    """Adds the verdict about all unusable images together: too many, or skipped."""
    if not broken:
        return
    share = broken / total
    seen = (
        f"{broken} of {total} images ({share:.1%}) cannot be used; {limits.max_broken_share:.0%} may be so."
    )
    code = Code.IMAGES_BROKEN if share > limits.max_broken_share else Code.IMAGES_SKIPPED
    figures = {
        "broken": broken,
        "total": total,
        "share": f"{share:.1%}",
        "most": f"{limits.max_broken_share:.0%}",
    }
    log.add(code, seen, figures=figures)


def sniff(source: Source, name: str) -> str:
    """The image format that a file's first bytes show, or an empty string."""
    start = next(source.chunks(name), b"")[:16]
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    return next((format_name for magic, format_name in _MAGIC.items() if start.startswith(magic)), "")
