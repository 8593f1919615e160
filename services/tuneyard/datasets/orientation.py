"""Turns an image as its EXIF data says, whatever else a camera or a program wrote there.

Pillow's own `exif_transpose` also writes these data anew, and raises nearly anything where it cannot: of
pictures that are sound, and that came from real cameras.
"""

from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """As in EXIF: 1 is upright, and where nothing can be read; from 5 on width and height change places."""
    try:
        found: object = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # of the picture itself nothing is wrong
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """The image as it is to be looked at: itself, or a turned copy. Raises what decoding it does."""
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)
