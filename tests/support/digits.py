"""Real scans of handwritten digits, which scikit-learn carries, as datasets."""

import io
import zipfile
from collections.abc import Mapping

from PIL import Image
from sklearn.datasets import load_digits


def digits(per_class: int, *, rename: Mapping[str, str] | None = None) -> bytes:
    """An image-folder ZIP without a split; classes can be given other names."""
    images, labels = load_digits(return_X_y=True)
    archive, taken = io.BytesIO(), dict.fromkeys(range(10), 0)
    with zipfile.ZipFile(archive, "w") as target:
        for pixels, label in zip(images, labels, strict=True):
            if taken[int(label)] < per_class:
                taken[int(label)] += 1
                encoded = io.BytesIO()
                Image.fromarray((pixels.reshape(8, 8) * 15.9).astype("uint8")).save(encoded, "PNG")
                name = (rename or {}).get(str(label), str(label))
                target.writestr(f"digits/{name}/{taken[int(label)]}.png", encoded.getvalue())
    return archive.getvalue()
