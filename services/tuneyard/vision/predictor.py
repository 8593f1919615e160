"""A stored classifier, loaded from its two files and asked about images. Knows nothing of training."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from tuneyard.vision.batches import centre
from tuneyard.vision.pixels import decode
from tuneyard.vision.stored_classifier import load_stored


@dataclass(frozen=True)
class Prediction:
    """Classes with their probabilities, the most probable first."""

    ranking: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.ranking[0][0]


class Classifier:
    """A model that is ready to classify."""

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: Sequence[str],
        stored_side: int,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
    ) -> None:
        self.classes = tuple(classes)
        self._model = model.to(device).eval()
        self._stored_side = stored_side
        self._image_size = image_size
        self._mean = torch.tensor(mean, device=device).mul_(255).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).mul_(255).view(1, 3, 1, 1)
        self._device = device

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The classifier whose model.safetensors and config.json lie in a folder.

        Raises RecipeError MODEL_NOT_FOUND.
        """
        stored = load_stored(folder)
        return cls(
            stored.model,
            classes=stored.classes,
            stored_side=stored.stored_side,
            image_size=stored.image_size,
            mean=stored.mean,
            std=stored.std,
            device=torch.device(device),
        )

    def classify(self, images: Sequence[Path | bytes], *, top: int = 5) -> list[Prediction]:
        """The `top` classes of each image, given as files or as encoded bytes.

        Raises RecipeError DATASET_UNREADABLE for what is no image.
        """
        return self.rank([self.prepare(image) for image in images], top=top)

    def prepare(self, image: Path | bytes) -> np.ndarray:
        """The image as `rank` takes it. Raises RecipeError DATASET_UNREADABLE for what is none."""
        return decode(io.BytesIO(image) if isinstance(image, bytes) else image, side=self._stored_side)

    @torch.inference_mode()
    def rank(self, prepared: Sequence[np.ndarray], *, top: int = 5) -> list[Prediction]:
        """The `top` classes of each prepared image; all go through the network at once."""
        batch = torch.from_numpy(np.stack(prepared)).to(self._device).permute(0, 3, 1, 2).float()
        batch = centre(batch, self._image_size).contiguous(memory_format=torch.channels_last)
        shares = self._model(batch.sub_(self._mean).div_(self._std)).softmax(1).cpu()
        best = shares.topk(min(top, len(self.classes)))
        return [
            Prediction(
                tuple((self.classes[number], share) for number, share in zip(row, values, strict=True))
            )
            for row, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
