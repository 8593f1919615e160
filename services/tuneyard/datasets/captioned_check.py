"""Inspects a dataset of captioned images: reads every image and every caption once and says what training
would stumble over.

The rules about captions and names of files are in captioned_files.py.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from tuneyard.datasets.captioned import FORMAT, read_captions
from tuneyard.datasets.captioned_files import CaptionLog, note_captions, note_files
from tuneyard.datasets.captioned_layout import SPLITS, Layout, Place, lay_out
from tuneyard.datasets.class_balance import note_val_share
from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import Copies, Placed, likeness_groups
from tuneyard.datasets.image_set import ImageSet
from tuneyard.datasets.images import (
    DEFAULT_IMAGE_LIMITS,
    ImageFacts,
    ImageLimits,
    examine_all,
    note_broken_share,
    note_image,
)
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import FindingLog, Report, SplitSummary
from tuneyard.datasets.source import Source
from tuneyard.datasets.words import counted

LEAST_RESOLUTION = 512
"""That of the smallest models in use; an image with fewer pixels than its square is enlarged by all."""
USUAL_RESOLUTIONS = (512, 768, 1024)
MAX_ASPECT_RATIO = 4
"""Of the buckets that a training sorts its images into; of longer images the ends are cut off."""
FEW_IMAGES = 10

_MAX_GROUP_SHARE = 0.5
# Images are judged against buckets here, not against the square of a classifier.
_LIMITS = replace(DEFAULT_IMAGE_LIMITS, max_aspect_ratio=DEFAULT_IMAGE_LIMITS.max_pixels)


def inspect(
    source: Source,
    *,
    progress: ProgressCallback | None = None,
    limits: ImageLimits = _LIMITS,
    workers: int | None = None,
    left_out: Collection[str] = (),
) -> Report:
    """The report about the dataset; nothing is written.

    `left_out` are names that a version leaves out and that the source has no more: metadata may name them.
    """
    log = FindingLog()
    layout = lay_out(source)
    note_files(log, source, layout)
    names = layout.images
    images = ImageSet(names, limits=limits)
    sizes = _Sizes(log)
    for facts in examine_all(source, names, limits=limits, progress=progress, workers=workers):
        note_image(log, facts, limits=limits)
        images.add(facts)
        sizes.add(facts)
    note_broken_share(log, len(images.broken), len(names), limits=limits)
    images.note_unlike_others(log)
    usable = {name: content >= 0 for name, content in zip(names, images.contents, strict=True)}
    found = read_captions(source, layout)
    found = replace(found, absent=[each for each in found.absent if each[1].image not in left_out])
    about = note_captions(log, layout, found, usable)
    sizes.note()
    copies = images.note_copies(log, _placed(layout, images.contents), progress=progress)
    splits = _summaries(layout, usable)
    _note_splits(log, layout, splits)
    groups = () if layout.has_val else _groups(log, layout, images, copies)
    width, height = images.median_size
    return Report(
        format=FORMAT,
        findings=log.findings(),
        counts=log.counts(),
        splits=splits,
        excluded=tuple(images.broken),
        samples=sum(usable[name] and _is_used(place) for name, place in layout.places.items()),
        median_width=width,
        median_height=height,
        sides=images.sides,
        files={
            "total": len(source.names()),
            "images": len(names),
            "broken": len(images.broken),
            "duplicates": copies.count,
            "ignored": source.ignored,
            "captions": sum(bool(written.caption.text) for written in found.by_image.values()),
            "class_images": sum(layout.places[name].is_class for name in names if usable[name]),
            **sizes.counts(),
        },
        groups=groups,
        paths=_paths(log, layout, about),
    )


def companions(source: Source, left_out: Collection[str]) -> frozenset[str]:
    """What has to be left out with some files: the images of captions, and the captions of images.

    A caption that other images share stays, and so does metadata, since a finding about it is about all.
    """
    layout = lay_out(source)
    images = {
        image
        for image, captions in layout.captions.items()
        if image in left_out or any(caption in left_out for caption in captions)
    }
    captions = {caption for image in images for caption in layout.captions[image]}
    still_used = {caption for image, own in layout.captions.items() if image not in images for caption in own}
    return frozenset({*left_out, *images, *(captions - still_used)}) - frozenset(layout.metadata)


class _Sizes:
    """Which images are smaller than what is trained at, or longer than any bucket."""

    def __init__(self, log: FindingLog) -> None:
        self._log = log
        self._below: Counter[int] = Counter()
        self._images = 0

    def add(self, facts: ImageFacts) -> None:
        """Notes what one image shows by itself."""
        if facts.problem is not None:
            return
        self._images += 1
        width, height = facts.upright_size
        short, long = sorted((width, height))
        shape = f"{facts.name!r} has {width} x {height} pixels"
        for resolution in USUAL_RESOLUTIONS:
            self._below[resolution] += width * height < resolution**2
        if width * height < LEAST_RESOLUTION**2:
            seen = f"{shape}, fewer than {LEAST_RESOLUTION} x {LEAST_RESOLUTION}."
            figures = {"width": width, "height": height, "least": LEAST_RESOLUTION}
            self._log.add(Code.IMAGE_BELOW_RESOLUTION, seen, path=facts.name, figures=figures)
        if long > MAX_ASPECT_RATIO * short:
            lost = 1 - MAX_ASPECT_RATIO * short / long
            self._log.add(Code.IMAGE_BEYOND_BUCKETS, f"{shape}: {lost:.0%} are cut off.", path=facts.name)

    def note(self) -> None:
        """Adds the finding about all images together."""
        few = [
            f"{self._below[each]} {'has' if self._below[each] == 1 else 'have'} fewer than {each} x {each}"
            for each in USUAL_RESOLUTIONS
            if self._below[each]
        ]
        if few:
            self._log.add(
                Code.IMAGES_BELOW_RESOLUTION,
                f"Of {counted(self._images, 'image')}, by pixels, {', '.join(few)}.",
            )

    def counts(self) -> dict[str, int]:
        """How many images are smaller than each usual resolution."""
        return {f"below_{each}": self._below[each] for each in USUAL_RESOLUTIONS}


def _placed(layout: Layout, contents: Sequence[int]) -> Iterator[Placed]:
    for name, content in zip(layout.images, contents, strict=True):
        if content >= 0:
            yield Placed(name, content, layout.places[name].split, None)


def _summaries(layout: Layout, usable: dict[str, bool]) -> dict[str, SplitSummary]:
    """The usable images to learn from, by split; by kind, how many samples an epoch makes of them."""
    summaries = {}
    for split in SPLITS:
        if split != "train" and split not in layout.split_folders:
            continue
        places = [place for name, place in layout.places.items() if usable[name] and place.split == split]
        instance = [place.repeats for place in places if not place.is_class]
        seen = {"instance": sum(instance)}
        if split == "train" and len(instance) < len(places):
            seen["class"] = sum(place.repeats for place in places if place.is_class)
        summaries[split] = SplitSummary(samples=len(instance), per_class=seen)
    return summaries


def _note_splits(log: FindingLog, layout: Layout, splits: dict[str, SplitSummary]) -> None:
    for name in layout.turned_off:
        log.add(Code.FILE_NOT_AN_IMAGE, f"{name!r} lies in a folder whose repeats are 0.", path=name)
    for name, place in layout.places.items():
        if place.is_class and place.split != "train":
            seen = f"{name!r} is a class image in {place.split}."
            log.add(Code.CLASS_IMAGES_NOT_TRAINED, seen, path=name)
    train = splits["train"]
    if not train.samples:
        log.add(Code.NO_INSTANCE_IMAGES, "There is no usable image to learn from.")
        return
    if train.per_class.get("class"):
        log.add(Code.CLASS_IMAGES_FOUND, "There are class (regularisation) images.")
    if train.samples < FEW_IMAGES:
        seen = f"Only {counted(train.samples, 'image')} to learn from, fewer than {FEW_IMAGES}."
        log.add(Code.IMAGES_FEW, seen, figures={"images": train.samples, "least": FEW_IMAGES})
    if "val" in splits and not splits["val"].samples:
        seen = "The val split has no usable image."
        log.add(Code.SPLIT_EMPTY, seen, path=layout.split_folders["val"][0])
    note_val_share(log, splits)


def _groups(log: FindingLog, layout: Layout, images: ImageSet, copies: Copies) -> tuple[int, ...]:
    """The groups of images that an automatic split keeps together; empty where each is by itself."""
    places = [
        layout.places[name]
        for name, content in zip(layout.images, images.contents, strict=True)
        if content >= 0
    ]
    exact, groups = (likeness_groups(images.contents, near) for near in ((), copies.near))

    def sizes(of: Sequence[int]) -> Counter[int]:
        """How many of the images that are to be split each group has."""
        return Counter(
            group
            for group, place in zip(of, places, strict=True)
            if place.split == "train" and not place.is_class
        )

    alike = sizes(groups)
    if len(sizes(exact)) == 1:
        log.add(Code.IMAGES_NOT_SPLITTABLE, "All usable images are the same, or there is one only.")
    elif max(alike.values(), default=0) > max(1, _MAX_GROUP_SHARE * alike.total()):
        # Better a split with near copies on both sides, and a finding that says so, than none.
        log.add(Code.IMAGES_ALL_ALIKE, "More than half of the images are nearly alike.")
        groups = exact
    used = [group for group, place in zip(groups, places, strict=True) if _is_used(place)]
    return tuple(used) if len(set(used)) < len(used) else ()


def _is_used(place: Place) -> bool:
    """Whether an image is a sample: class images are for training only."""
    return place.split == "train" or not place.is_class


def _paths(log: FindingLog, layout: Layout, about: CaptionLog) -> dict[Code, Collection[str]]:
    """By code, the files of its findings: the images that are meant, where metadata is named."""
    metadata = frozenset(layout.metadata)
    return {
        code: {*(path for path in paths if path not in metadata), *about.images.get(code, ())}
        for code, paths in log.paths().items()
    }
