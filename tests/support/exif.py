"""EXIF data as cameras write them, and as they should not."""

import struct

UNWRITABLE = struct.pack("<HHI4s", 0x011A, 2, 4, b"odd\0")
"""A text where a fraction belongs: Pillow reads it, and cannot write it again."""


def exif(orientation: int, *, beside: bytes = b"") -> bytes:
    """Data that name an orientation, and another entry of twelve bytes."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    count = 2 if beside else 1
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + entry + beside + struct.pack("<I", 0)
