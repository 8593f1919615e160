"""Which images of a dataset train, which are held out, and with which captions: no pixels, no torch.

Which side an image is on follows from the dataset and the seed alone, so that an evaluation much later finds
the same held-out images. The test split is not read here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuneyard.datasets.captioned import CaptionedIndex, CaptionedSample, index, likeness, split
from tuneyard.datasets.split import stratified_subset
from tuneyard.datasets.words import counted
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import DatasetFiles, Run


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and the caption that it is trained or validated with."""

    path: Path
    """The file itself."""
    name: str
    """Its path in its dataset, with forward slashes."""
    caption: str
    """May be ""."""
    repeats: int
    """How often an epoch sees it."""
    is_class: bool
    """Whether it is a class (regularisation) image: its loss is the prior's."""
    size: tuple[int, int]
    """Width and height in px of the upright image."""


@dataclass(frozen=True)
class Splits:
    """The images that training may see; those to train on are in the order of their names."""

    train: tuple[Sample, ...]
    class_images: tuple[Sample, ...]
    """Empty without prior preservation."""
    validation: tuple[Sample, ...]
    train_sha256: str
    """Which images with which captions are trained on, in hex: see `samples_sha256`."""
    held_out_sha256: str
    divided: bool
    """Whether the held-out images were taken from those to train on."""

    @property
    def samples_per_epoch(self) -> int:
        """With repeats; class images, of which an epoch sees as many, count like any other."""
        instance = sum(sample.repeats for sample in self.train)
        return 2 * instance if self.class_images else instance


def samples_sha256(dataset_sha256: str, samples: Iterable[Sample]) -> str:
    """Tells sets of captioned images apart, whatever their order. The dataset's hash stands for the pixels,
    so that none have to be read.
    """
    lines = sorted(f"{sample.name}\0{sample.caption}" for sample in samples)
    return hashlib.sha256("\n".join((dataset_sha256, *lines)).encode()).hexdigest()


def make_splits(config: TextToImageConfig, run: Run) -> Splits:
    """The named validation dataset, or else the dataset's own val split, or else a seeded one.

    Copies and near copies of one image stay on one side of a split made here. Raises RecipeError
    DATASET_INVALID.
    """
    files = run.dataset()
    found = index(files.dir, files.report)
    other = run.validation_dataset()
    held_out_of = other or files
    divided = other is None and not found.has_val
    if other is not None:
        second = index(other.dir, other.report)
        validation = second.splits.get("val") or second.splits["train"]
        validation_root = second.root
    else:
        found = _divided(found, files, config)
        validation, validation_root = found.splits["val"], found.root
    train = found.splits["train"]
    if not train or not validation:
        raise _invalid(
            f"The dataset leaves no image for {'validation' if train else 'training'}.",
            "Add more different images to the dataset.",
        )
    if config.max_train_samples is not None:
        count = min(config.max_train_samples, len(train))
        train = _picked(train, stratified_subset([0] * len(train), max_samples=count, seed=config.seed))
    of_train = make_samples(train, found.root, config)
    of_validation = make_samples(validation, validation_root, config)
    return Splits(
        train=of_train,
        class_images=make_samples(_class_images(found, config, run), found.root, config),
        validation=of_validation,
        train_sha256=samples_sha256(files.sha256, of_train),
        held_out_sha256=samples_sha256(held_out_of.sha256, of_validation),
        divided=divided,
    )


def tell_of_samples(splits: Splits, config: TextToImageConfig, run: Run) -> None:
    """Warns of what the captions and sizes of the images mean under these settings.

    Raises RecipeError DATASET_INVALID where no image says what it shows.
    """
    without = [sample for sample in splits.train if not sample.caption]
    if len(without) == len(splits.train):
        raise _invalid(
            "None of the images has a caption.",
            "Set task.instance_prompt to a caption for all of them.",
            "Write what each image shows into a text file of its name.",
        )
    if without:
        run.warn(
            "captions_missing",
            f"{len(without)} of {len(splits.train)} images, such as {without[0].name!r}, have no caption and"
            " are trained on with an empty one; set an instance_prompt for them.",
        )
    enlarged = [each for each in splits.train if each.size[0] * each.size[1] < config.resolution**2]
    if enlarged:
        run.warn(
            "images_enlarged",
            f"{len(enlarged)} of {len(splits.train)} images, such as {enlarged[0].name!r}, have fewer pixels"
            f" than {config.resolution} x {config.resolution} and are enlarged: the model learns their blur.",
        )
    unused = [word for word in config.trigger_words if not _occurs(word, splits.train)]
    if unused:
        run.warn(
            "trigger_words_unused",
            f"No caption holds {', '.join(map(repr, unused))}: a word that is not trained calls nothing.",
        )
    empty_class = sum(not sample.caption for sample in splits.class_images)
    if empty_class:
        run.warn(
            "class_captions_missing",
            f"{empty_class} class images have no caption; set a class_prompt for them.",
        )


def _divided(found: CaptionedIndex, files: DatasetFiles, config: TextToImageConfig) -> CaptionedIndex:
    """The index with the validation split that it brings, or one taken from its training images."""
    if found.has_val:
        return found
    try:
        return split(
            found,
            validation_share=config.validation_fraction,
            seed=config.seed,
            groups=likeness(found, files.report),
        )
    except ValueError as error:
        raise _invalid(
            f"The dataset cannot be divided: {error}.",
            "Add more different images to the dataset.",
            "Name a validation dataset of its own.",
        ) from error


def _class_images(found: CaptionedIndex, config: TextToImageConfig, run: Run) -> tuple[CaptionedSample, ...]:
    if config.prior_loss_weight > 0:
        if not found.class_images:
            raise _invalid(
                "Prior preservation needs class images, and the dataset has none.",
                "Put images of the class into a folder class/ of the dataset.",
                "Set task.prior_loss_weight to 0.",
            )
        return found.class_images
    if found.class_images:
        run.warn(
            "class_images_unused",
            f"Of {counted(len(found.class_images), 'class image')} none is used: prior_loss_weight is 0.",
        )
    return ()


def make_samples(
    found: Sequence[CaptionedSample], root: Path, config: TextToImageConfig
) -> tuple[Sample, ...]:
    """Images of a dataset in the folder `root`, with the captions that the settings give them."""
    return tuple(
        Sample(
            path=root / each.path,
            name=each.path,
            caption=each.caption
            or (config.class_prompt if each.is_class else config.instance_prompt)
            or each.folder_prompt,
            repeats=each.repeats,
            is_class=each.is_class,
            size=each.size,
        )
        for each in found
    )


def _picked(samples: Sequence[CaptionedSample], positions: Sequence[int]) -> tuple[CaptionedSample, ...]:
    return tuple(samples[position] for position in positions)


def _occurs(word: str, samples: Sequence[Sample]) -> bool:
    return any(word.casefold() in sample.caption.casefold() for sample in samples)


def _invalid(message: str, *remedies: str) -> RecipeError:
    return RecipeError(message, reason="DATASET_INVALID", remedies=remedies)
