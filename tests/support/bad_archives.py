"""ZIP files that a dataset cannot be made of, each wrong in one way, beside one that is right."""

import io
import stat
import zipfile
from collections.abc import Mapping

from PIL import Image


def picture(number: int, *, size: int = 24) -> bytes:
    """A small PNG, different for each number."""
    image = Image.new("RGB", (size, size), (number * 7 % 256, number * 31 % 256, 90))
    image.putpixel((number % size, number // size % size), (255, 255, 255))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def archive(members: Mapping[str, bytes]) -> bytes:
    """A ZIP of names and contents; a name that ends in a slash is a folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return content.getvalue()


def folders(counts: Mapping[str, int]) -> dict[str, bytes]:
    """So many pictures in each folder, all different."""
    members = dict[str, bytes]()
    for folder, count in counts.items():
        for number in range(count):
            members[f"{folder}/{number}.png"] = picture(len(members))
    return members


def good() -> bytes:
    return archive(folders({"cat": 12, "dog": 12}))


def encrypted() -> bytes:
    """An archive whose entries say that they are encrypted, in both of their headers."""
    content = bytearray(good())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 4)
    return bytes(content)


def damaged_member() -> bytes:
    """An archive with a good directory, and one image whose bytes are not those of its checksum."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as target:
        for name, data in folders({"cat": 12, "dog": 12}).items():
            target.writestr(name, data)
    damaged = bytearray(content.getvalue())
    damaged[damaged.find(b"dog/3.png") + 60] ^= 0xFF
    return bytes(damaged)


def with_link(target_path: str = "/etc/passwd") -> bytes:
    content = io.BytesIO(good())
    with zipfile.ZipFile(content, "a") as target:
        link = zipfile.ZipInfo("dog/link.png")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, target_path)
    return content.getvalue()


def with_member(name: str, data: bytes = b"x") -> bytes:
    """The good archive and one more member, whatever its name."""
    content = io.BytesIO(good())
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as target:
        target.writestr(name, data)
    return content.getvalue()


def with_broken_images(broken: int, *, of: int) -> bytes:
    """An archive of which some images end too early; their names begin with "broken"."""
    members = folders({"cat": of // 2, "dog": of - of // 2})
    for name in list(members)[:broken]:
        data = members.pop(name)
        folder, _, file = name.partition("/")
        members[f"{folder}/broken-{file}"] = data[: len(data) // 2]
    return archive(members)
