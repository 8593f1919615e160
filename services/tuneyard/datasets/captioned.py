"""The format of captioned images: `index` gives a text-to-image training its samples.

What is wrong with a dataset is found by captioned_check.py; a sample here is what training may use.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tuneyard.datasets.captioned_layout import SPLITS, Layout, lay_out
from tuneyard.datasets.captioned_metadata import Row, rows
from tuneyard.datasets.captioned_text import Caption, caption_of, read_caption
from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import content_groups
from tuneyard.datasets.image_head import upright_size
from tuneyard.datasets.jsonl_lines import FileUnusable
from tuneyard.datasets.names import identity
from tuneyard.datasets.report import Report
from tuneyard.datasets.source import FolderSource, Source
from tuneyard.datasets.split import stratified_split

__all__ = ["FORMAT", "CaptionedIndex", "CaptionedSample", "index", "likeness", "split"]

FORMAT = "captioned-images"


@dataclass(frozen=True, slots=True)
class CaptionedSample:
    """One image, what is said about it, and how often an epoch sees it."""

    path: str
    """Relative to the index's root, with forward slashes."""
    caption: str
    """Its own, on one line; "" where it has none."""
    folder_prompt: str
    """The name in the folder "10_name" that it lies in; "" where there is none."""
    repeats: int
    is_class: bool
    """Whether it is a class (regularisation) image."""
    size: tuple[int, int]
    """Width and height in pixels after turning the image upright as its EXIF data says."""


@dataclass(frozen=True)
class CaptionedIndex:
    """The samples of a dataset, sorted by path."""

    root: Path
    splits: Mapping[str, tuple[CaptionedSample, ...]]
    """"train", and "val" and "test" where the dataset brings them, without class images."""
    class_images: tuple[CaptionedSample, ...] = ()
    """Those for training."""

    @property
    def has_val(self) -> bool:
        """Whether there is a validation split, the dataset's own or one that was made."""
        return "val" in self.splits


class Written(NamedTuple):
    """A caption and where it stands."""

    caption: Caption
    file: str
    line: int
    """From 1, where the caption begins."""


@dataclass(frozen=True)
class Captions:
    """All captions of a dataset, and what is remarkable about its metadata."""

    by_image: Mapping[str, Written]
    """The one that counts, of images that have any; it may have no text."""
    passed_over: Mapping[str, tuple[Written, ...]]
    """By image, further ones."""
    absent: Sequence[tuple[str, Row]] = ()
    """Metadata files and lines that name images which are not there."""
    repeated: Sequence[tuple[str, Row]] = ()
    broken: Sequence[tuple[str, Row]] = ()
    unusable: Mapping[str, FileUnusable] = field(default_factory=dict)
    rows: int = 0
    """Lines of metadata in all."""


def index(root: Path, report: Report | None = None) -> CaptionedIndex:
    """Reads the captions and the heads of the images in a prepared folder.

    Left out are the files that the report excludes, and images that cannot be identified. Raises OSError and
    `ArchiveError` where the folder cannot be read.
    """
    source = FolderSource(root)
    layout = lay_out(source)
    captions = read_captions(source, layout)
    excluded = frozenset(report.excluded) if report is not None else frozenset[str]()
    splits: dict[str, list[CaptionedSample]] = {
        split: [] for split in SPLITS if split == "train" or split in layout.split_folders
    }
    class_images = []
    for name in layout.images:
        size = None if name in excluded else upright_size(source.root / name)
        if size is None:
            continue
        sample = _sample(layout, captions, name, size)
        split = layout.places[name].split
        if not sample.is_class:
            splits[split].append(sample)
        elif split == "train":
            class_images.append(sample)
    return CaptionedIndex(
        root=source.root,
        splits={split: tuple(samples) for split, samples in splits.items()},
        class_images=tuple(class_images),
    )


def split(
    index: CaptionedIndex,
    *,
    validation_share: float,
    seed: int,
    groups: Mapping[str, Hashable] | None = None,
) -> CaptionedIndex:
    """The index with a validation split taken from its training samples; "test" stays as it is.

    About `validation_share` (0 < s < 1; 0.10 to 0.20 is usual) of the images are held out, at least one and
    never all. `groups` gives for the path of an image what it shares with its copies: images of one group
    stay on one side, and one that is not named is a group of its own. Raises ValueError where there are fewer
    than two groups.
    """
    samples = index.splits["train"]
    named = groups or {}
    keys = [named.get(sample.path, ("alone", sample.path)) for sample in samples]
    if len(set(keys)) < 2:
        raise ValueError("a split needs at least two different images")
    train, validation = stratified_split([0] * len(samples), keys, val_fraction=validation_share, seed=seed)
    divided = {
        "train": tuple(samples[position] for position in train),
        "val": tuple(samples[position] for position in validation),
    }
    return replace(index, splits={**index.splits, **divided})


def likeness(index: CaptionedIndex, report: Report) -> Mapping[str, Hashable]:
    """The groups of copies and near copies that the report found, by path, as `split` takes them.

    Exact copies are looked for again where the samples are not those of the report.
    """
    samples = [sample for of_split in index.splits.values() for sample in of_split]
    paths = sorted(sample.path for sample in (*samples, *index.class_images))
    groups: Sequence[Hashable] = report.groups
    if len(groups) != len(paths):
        # Reading every file only to find no copies again would cost seconds at each start.
        if report.splits and not groups and not report.counts.get(Code.DUPLICATE_IMAGE):
            return {}
        groups = content_groups(FolderSource(index.root), paths)
    return dict(zip(paths, groups, strict=True))


def read_captions(source: Source, layout: Layout) -> Captions:
    """The captions of all images: from files of their names, else from metadata."""
    written: dict[str, list[Written]] = {}
    shared: dict[str, Caption] = {}
    for image, files in layout.captions.items():
        for file in files:
            if file not in shared:
                shared[file] = read_caption(source.read(file))
            written.setdefault(image, []).append(Written(shared[file], file, 1))
    # What was written on Windows or macOS may differ in capitals.
    known = {identity(name): name for name in (*layout.outside, *layout.turned_off, *layout.images)}
    unusable: dict[str, FileUnusable] = {}
    absent, repeated, broken = [list[tuple[str, Row]]() for _ in range(3)]
    described = set[str]()
    total = 0
    for file in layout.metadata:
        for row in _usable_rows(source, file, unusable):
            total += 1
            named = row.image if row.image in layout.places else known.get(identity(row.image))
            if row.problem:
                broken.append((file, row))
            elif named is None:
                absent.append((file, row))
            elif named in described:
                repeated.append((file, row))
            else:
                described.add(named)
                if named in layout.places:
                    here = Written(caption_of(row.text), file, row.line)
                    written.setdefault(named, []).append(here)
    return Captions(
        by_image={image: _counting(found) for image, found in written.items()},
        passed_over={image: _others(found) for image, found in written.items() if len(found) > 1},
        absent=absent,
        repeated=repeated,
        broken=broken,
        unusable=unusable,
        rows=total,
    )


def _usable_rows(source: Source, file: str, unusable: dict[str, FileUnusable]) -> Iterator[Row]:
    try:
        yield from rows(source, file)
    except FileUnusable as error:
        unusable[file] = error


def _counting(found: Sequence[Written]) -> Written:
    """The first that says anything."""
    return next((each for each in found if each.caption.text), found[0])


def _others(found: Sequence[Written]) -> tuple[Written, ...]:
    chosen = _counting(found)
    return tuple(each for each in found if each is not chosen)


def _sample(layout: Layout, captions: Captions, name: str, size: tuple[int, int]) -> CaptionedSample:
    place, written = layout.places[name], captions.by_image.get(name)
    return CaptionedSample(
        path=name,
        caption=written.caption.text if written else "",
        folder_prompt=place.prompt,
        repeats=place.repeats,
        is_class=place.is_class,
        size=size,
    )
