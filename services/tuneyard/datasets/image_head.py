"""An image's size as people see it, from the file's head: for recipes' indexes, which decode nothing.

What a whole look at an image finds is in `images`.
"""

from pathlib import Path

from PIL import Image

from tuneyard.datasets.images import DEFAULT_IMAGE_LIMITS
from tuneyard.datasets.names import IMAGE_FORMATS
from tuneyard.datasets.orientation import orientation

_IMAGE_FORMATS = sorted(set(IMAGE_FORMATS.values()))
_PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height as the image is to be looked at; None if it cannot be identified."""
    try:
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            width, height = image.size
            if width * height > DEFAULT_IMAGE_LIMITS.max_pixels:
                return None
            # Pillow decodes a whole PNG to find what most PNGs do not have.
            if image.format == "PNG" and not _may_have_exif(path):
                return width, height
            return (height, width) if orientation(image) >= 5 else (width, height)
    except MemoryError:
        raise
    except Exception:  # decoders raise nearly anything on damaged bytes
        return None


def _may_have_exif(path: Path) -> bool:
    data = path.read_bytes()
    return any(mark in data for mark in _PNG_EXIF_MARKS)
