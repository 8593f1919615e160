"""A plain loop over an image folder: verify, hash and perceptual hash of each file, in one process.

python inspect_images.py FOLDER prints {"images", "seconds", "unreadable"} as JSON.
"""

import hashlib
import io
import json
import sys
import time
from pathlib import Path

import imagehash
from PIL import Image


def main(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    imagehash.phash(Image.new("L", (8, 8)))
    started = time.perf_counter()
    unreadable, hashes, digests = 0, [], set()
    for path in files:
        data = path.read_bytes()
        digests.add(hashlib.sha256(data).digest())
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()
            with Image.open(io.BytesIO(data)) as image:
                hashes.append(imagehash.phash(image))
        except OSError:
            unreadable += 1
    seconds = time.perf_counter() - started
    print(json.dumps({"images": len(files), "seconds": seconds, "unreadable": unreadable}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
