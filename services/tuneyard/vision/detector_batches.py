"""What each step sees: the order of the images, and their augmentation by ultralytics' own transforms.

Both are functions of the seed and of the place in the training alone. Nothing of it must be kept for a
resumed run to see what an uninterrupted one would have seen, however many processes prepare the batches.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from tuneyard.datasets.yolo import YoloSample
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_model import STRIDE
from tuneyard.vision.detector_offline import Albumentations, YOLODataset, get_cfg
from tuneyard.vision.detector_pixels import Pixels, ScaledImages
from tuneyard.vision.loader_processes import PREFETCHED_STEPS

Sample = dict[str, Any]
"""One image as ultralytics' transforms leave it: img (3, height, width) uint8 RGB, cls, bboxes, …"""

_VALIDATION_PADDING = 0.5
"""Of a stride, around batches of one aspect ratio: as ultralytics validates."""


class Draw(NamedTuple):
    """An image of a step; its augmentation depends on nothing else but the seed."""

    epoch: int
    position: int
    mosaic: bool
    """False in the last epochs, which see whole images."""


def engine_settings(config: DetectorConfig, *, epochs: int) -> Any:
    """Our settings in ultralytics' words, for its transforms and its loss."""
    strengths = config.augmentation
    return get_cfg(
        overrides={
            "task": "detect",
            "mode": "train",
            "epochs": epochs,
            "imgsz": config.image_size,
            "batch": config.batch_size,
            "rect": config.rectangular,
            "hsv_h": strengths.hsv_h,
            "hsv_s": strengths.hsv_s,
            "hsv_v": strengths.hsv_v,
            "degrees": strengths.degrees,
            "translate": strengths.translate,
            "scale": strengths.scale,
            "shear": strengths.shear,
            "perspective": strengths.perspective,
            "flipud": strengths.vertical_flip,
            "fliplr": strengths.horizontal_flip,
            "mosaic": strengths.mosaic,
            "mixup": strengths.mixup,
        }
    )


class DetectionSamples(YOLODataset):
    """ultralytics' dataset over images and boxes that are known already: it searches and parses no files."""

    def __init__(
        self,
        samples: Sequence[YoloSample],
        images: ScaledImages,
        *,
        classes: Sequence[str],
        settings: Any,
        augment: bool,
        rectangular_batch: int,
        seed: int = 0,
    ) -> None:
        """`rectangular_batch` is how many neighbours share an aspect ratio; 0 makes every image square."""
        self.samples = tuple(samples)
        self._images = images
        self._row = {sample.path: row for row, sample in enumerate(samples)}
        self._seed = seed
        super().__init__(
            img_path="",
            imgsz=settings.imgsz,
            augment=augment,
            hyp=settings,
            rect=rectangular_batch > 0,
            batch_size=rectangular_batch or 1,
            stride=STRIDE,
            pad=0.0 if augment else _VALIDATION_PADDING,
            data={"names": dict(enumerate(classes)), "channels": 3},
        )
        self._whole = self.transforms
        if augment:
            plain = get_cfg(cfg=settings, overrides={"mosaic": 0.0, "mixup": 0.0})
            self._whole = self.build_transforms(plain)

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """The images' paths: ultralytics' names of the samples."""
        return [sample.path for sample in self.samples]

    def get_labels(self) -> list[dict[str, Any]]:
        """The samples in ultralytics' form."""
        return [_label(sample) for sample in self.samples]

    def build_transforms(self, hyp: Any) -> Any:
        """ultralytics' transforms, their choices drawn from the generators that `__getitem__` seeds."""
        # Mosaics take their other images from the whole dataset, not from those that were read lately.
        self.cache = "ram"
        transforms = super().build_transforms(hyp)
        # Present or not by what else is installed, and drawing from a generator of its own.
        transforms.transforms = [
            transform for transform in transforms.transforms if not isinstance(transform, Albumentations)
        ]
        return transforms

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[Pixels, tuple[int, int], tuple[int, int]]:
        """The scaled image, its height and width as it is in the dataset, and scaled."""
        row = self._row[self.im_files[i]]
        image = self._images[row]
        width, height = self.samples[row].size
        return image, (height, width), (image.shape[0], image.shape[1])

    def __getitem__(self, index: Draw) -> Sample:  # type: ignore[override]
        """The image of a draw, augmented where this dataset augments."""
        if self.augment:
            state = np.random.SeedSequence([self._seed, index.epoch, index.position]).generate_state(2)
            random.seed(int(state[0]))
            np.random.seed(int(state[1]))
        transforms = self.transforms if index.mosaic else self._whole
        return cast(Sample, transforms(self.get_image_and_label(index.position)))

    def boxes_of_classes(self, classes: int) -> NDArray[np.int64]:
        """How many boxes each class has."""
        labels = [box.label for sample in self.samples for box in sample.boxes]
        return np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes)


def _label(sample: YoloSample) -> dict[str, Any]:
    width, height = sample.size
    boxes = np.asarray(sample.boxes, dtype=np.float32).reshape(-1, 5)
    return {
        "im_file": sample.path,
        "shape": (height, width),
        "cls": boxes[:, :1],
        "bboxes": boxes[:, 1:],
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }


class SampleOrder:
    """Which images each step takes: each once an epoch, in an order drawn anew for every epoch."""

    def __init__(self, samples: int, *, step_size: int, seed: int, rectangular: bool) -> None:
        """With `rectangular`, steps keep their images, which share an aspect ratio, and change places."""
        self.steps_per_epoch = -(-samples // step_size)
        self._samples = samples
        self._step_size = step_size
        self._seed = seed
        self._rectangular = rectangular
        self._epoch = -1
        self._steps: list[list[int]] = []

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, of a step, from 0."""
        return step // self.steps_per_epoch

    def positions(self, step: int) -> list[int]:
        """The images of a step, from 0; the last step of an epoch may have fewer than the others."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._steps = epoch, self._divided(epoch)
        return self._steps[place]

    def _divided(self, epoch: int) -> list[list[int]]:
        state = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(state)
        starts = range(0, self._samples, self._step_size)
        if self._rectangular:
            chosen = torch.randperm(len(starts), generator=generator).tolist()
            ends = [min(starts[number] + self._step_size, self._samples) for number in chosen]
            return [list(range(starts[number], end)) for number, end in zip(chosen, ends, strict=True)]
        order = torch.randperm(self._samples, generator=generator).tolist()
        return [order[start : start + self._step_size] for start in starts]


class StepSamples:
    """The prepared images of one step after another."""

    def __init__(
        self,
        dataset: DetectionSamples,
        order: SampleOrder,
        *,
        first_step: int,
        total_steps: int,
        close_mosaic_steps: int,
        workers: int,
    ) -> None:
        """Steps count from 0; the last `close_mosaic_steps` see whole images. No workers: prepared here."""
        self._dataset = dataset
        self._order = order
        self._steps = range(first_step, total_steps)
        self._mosaic_until = total_steps - close_mosaic_steps
        self._batches = self._loaded(workers) if workers else self._prepared()

    def __next__(self) -> list[Sample]:
        return next(self._batches)

    def draws(self, step: int) -> list[Draw]:
        """What a step takes."""
        epoch, mosaic = self._order.epoch_of(step), step < self._mosaic_until
        return [Draw(epoch, position, mosaic) for position in self._order.positions(step)]

    def _prepared(self) -> Iterator[list[Sample]]:
        for step in self._steps:
            yield [self._dataset[draw] for draw in self.draws(step)]

    def _loaded(self, workers: int) -> Iterator[list[Sample]]:
        loader: DataLoader[Any] = DataLoader(
            cast(Any, self._dataset),
            batch_sampler=cast(Any, _Draws(self)),
            num_workers=workers,
            collate_fn=_packed,
            prefetch_factor=PREFETCHED_STEPS,
            multiprocessing_context="fork",
        )
        return map(_unpacked, loader)

    @property
    def steps(self) -> range:
        """The steps that are left, from 0."""
        return self._steps


class _Draws:
    """The draws of all steps, as a loader wants them."""

    def __init__(self, source: StepSamples) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source.steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        return (self._source.draws(step) for step in self._source.steps)


def _packed(samples: Sequence[Sample]) -> tuple[Tensor, list[Sample]]:
    """The images of a step, which are of one shape, in one tensor, and all else without any.

    Each tensor that a process passes on costs both sides a file descriptor until it is let go of: with one
    for each image, steps of some size ran into the usual limit of 1024.
    """
    # Shared here, not as it is sent: in the thread that sends, a lack of room is printed, and the batch never
    # comes.
    images: Tensor = torch.stack([sample["img"] for sample in samples])
    images.share_memory_()  # type: ignore[no-untyped-call]
    plain = [
        {
            name: value.numpy() if isinstance(value, Tensor) else value
            for name, value in sample.items()
            if name != "img"
        }
        for sample in samples
    ]
    return images, plain


def _unpacked(packed: tuple[Tensor, list[Sample]]) -> list[Sample]:
    images, plain = packed
    return [
        {"img": image}
        | {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in sample.items()
        }
        for image, sample in zip(images, plain, strict=True)
    ]


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """One batch of samples of one shape, as ultralytics' loss wants it; img is uint8."""
    return cast(dict[str, Any], YOLODataset.collate_fn(list(samples)))
