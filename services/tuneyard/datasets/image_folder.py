"""The image-folder format: a folder for each class, below train/, val/ and test/ or at the root.

`index` says from the names alone which files are samples; `inspect` reads them and says what is wrong.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, overload

from tuneyard.datasets.class_balance import note_class_sizes
from tuneyard.datasets.codes import Code
from tuneyard.datasets.duplicates import Copies, Placed, likeness_groups, splittable
from tuneyard.datasets.image_set import ImageSet
from tuneyard.datasets.images import DEFAULT_IMAGE_LIMITS, ImageLimits, sniff
from tuneyard.datasets.name_list import Picked
from tuneyard.datasets.names import SPLIT_FOLDERS, identity, is_image_name
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import FindingLog, Report, SplitSummary
from tuneyard.datasets.source import Source

FORMAT = "image-folder"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: its name below the dataset's root, the number of its class, and "train", "val" or "test"."""

    path: str
    class_index: int
    split: str


class Samples(Sequence[Sample]):
    """Very many samples in the order of their paths: what each is comes to be when it is asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are those of all files, some of which are samples."""
        self._names = names
        self._positions, self._classes, self._splits = array("I"), array("I"), array("b")

    def add(self, position: int, class_index: int, split: str) -> None:
        """Adds the file with this position among the names."""
        self._positions.append(position)
        self._classes.append(class_index)
        self._splits.append(_SPLITS.index(split))

    def without(self, excluded: Collection[str]) -> "Samples":
        """Those that are not excluded."""
        kept = Samples(self._names)
        for position, class_index, split in zip(self._positions, self._classes, self._splits, strict=True):
            if self._names[position] not in excluded:
                kept.add(position, class_index, _SPLITS[split])
        return kept

    @property
    def paths(self) -> Sequence[str]:
        """Of each the path."""
        return Picked(self._names, self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, at: int) -> Sample: ...

    @overload
    def __getitem__(self, at: slice) -> list[Sample]: ...

    def __getitem__(self, at: int | slice) -> Sample | list[Sample]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        name = self._names[self._positions[at]]
        return Sample(name, self._classes[at], _SPLITS[self._splits[at]])


@dataclass(frozen=True)
class ImageFolderIndex:
    """What the names say. `classes` are those of train/ in sorted order; samples are sorted by path.

    Without a val split every image is in "train", to be split. Images of classes that train/ does not have
    are no samples.
    """

    classes: tuple[str, ...]
    samples: Samples
    class_folders: Mapping[str, Mapping[str, str]]
    """By split and class, the folder, empty ones too."""
    split_folders: Mapping[str, tuple[str, ...]]
    """By split, the folders at the root that hold it; none where the classes lie at the root."""
    unknown_class: tuple[str, ...]
    """Images of a class that train/ does not have."""
    outside: tuple[str, ...]
    """Images in no class's folder."""
    others: tuple[str, ...]
    """Files in class folders that are not named like images."""

    @property
    def has_val(self) -> bool:
        """Whether the dataset brings its own validation split."""
        return "val" in self.split_folders

    def of(self, split: str) -> tuple[Sample, ...]:
        """The samples of one split."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def without(self, excluded: Collection[str]) -> Self:
        """The index without some files, such as a report's `excluded`."""
        left_out = frozenset(excluded)
        if not left_out:
            return self
        return replace(self, samples=self.samples.without(left_out))


def index(source: Source) -> ImageFolderIndex:
    """Finds splits, classes and samples; opens no file."""
    split_roots, classes_at_root = _layout(source.folders)

    def place(name: str) -> tuple[str, str, str] | None:
        """The split, the class and the class's folder of a file or folder, as (split, class, folder)."""
        parts = name.split("/")
        if parts[0] in split_roots:
            return (split_roots[parts[0]], parts[1], "/".join(parts[:2])) if len(parts) > 1 else None
        return ("train", parts[0], parts[0]) if classes_at_root else None

    class_folders: dict[str, dict[str, str]] = {}
    for folder in source.folders:
        if found := place(folder):
            split, class_name, path = found
            class_folders.setdefault(split, {}).setdefault(class_name, path)
    classes = tuple(sorted(class_folders.get("train", {})))
    numbers = {name: number for number, name in enumerate(classes)}

    samples = Samples(source.names())
    unknown_class: list[str] = []
    outside: list[str] = []
    others: list[str] = []
    for position, name in enumerate(source.names()):
        folder = name.rpartition("/")[0]
        found = place(folder) if folder else None
        if not is_image_name(name):
            if found:
                others.append(name)
        elif found is None:
            outside.append(name)
        elif found[1] in numbers:
            samples.add(position, numbers[found[1]], found[0])
        else:
            unknown_class.append(name)
    split_folders: dict[str, tuple[str, ...]] = {}
    for root, split in split_roots.items():
        split_folders[split] = (*split_folders.get(split, ()), root)
    return ImageFolderIndex(
        classes=classes,
        samples=samples,
        class_folders=class_folders,
        split_folders=split_folders,
        unknown_class=tuple(unknown_class),
        outside=tuple(outside),
        others=tuple(others),
    )


def inspect(
    source: Source,
    *,
    progress: ProgressCallback | None = None,
    limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
    workers: int | None = None,
) -> Report:
    """Reads every image once and reports everything that training would stumble over."""
    log = FindingLog()
    found = index(source)
    _note_structure(log, source, found)
    names = found.samples.paths
    images = ImageSet.read(log, source, names, limits=limits, progress=progress, workers=workers)
    placed = (
        Placed(sample.path, content, sample.split, found.classes[sample.class_index])
        for sample, content in zip(found.samples, images.contents, strict=True)
        if content >= 0
    )
    copies = images.note_copies(log, placed, progress=progress)
    usable = found.without(images.broken)
    splits = _summaries(usable)
    _note_classes(log, usable, splits)
    groups = () if usable.has_val else _groups(log, usable, images.contents, copies)
    width, height = images.median_size
    return Report(
        format=FORMAT,
        findings=log.findings(),
        counts=log.counts(),
        classes=found.classes,
        splits=splits,
        excluded=tuple(images.broken),
        samples=len(usable.samples),
        median_width=width,
        median_height=height,
        sides=images.sides,
        files={
            "total": len(source.names()),
            "images": len(names),
            "broken": len(images.broken),
            "duplicates": copies.count,
            "ignored": source.ignored,
        },
        groups=groups,
        paths=log.paths(),
    )


def _layout(folders: Sequence[str]) -> tuple[dict[str, str], bool]:
    """The split of each split folder at the root, and whether the other folders there are classes."""
    roots = [folder for folder in folders if "/" not in folder]
    splits = {root: SPLIT_FOLDERS[root.casefold()] for root in roots if root.casefold() in SPLIT_FOLDERS}
    others = {root for root in roots if root not in splits}
    if "train" in splits.values() or not others:
        return splits, False
    # cat/, dog/ and test/: `test` may be a class like the others, or a split if it has their folders.
    inner = {
        root: {folder.split("/")[1] for folder in folders if folder.startswith(f"{root}/")} for root in splits
    }
    return {root: split for root, split in splits.items() if inner[root] & others}, True


def _note_structure(log: FindingLog, source: Source, found: ImageFolderIndex) -> None:
    for name in source.links:
        log.add(Code.LINK_IGNORED, f"{name!r} is a link or a special file.", path=name)
    for name in found.outside:
        log.add(Code.IMAGE_OUTSIDE_CLASS, f"{name!r} is not in the folder of a class.", path=name)
    for name in found.others:
        if actual := sniff(source, name):
            seen = f"{name!r} is a {actual} image by its content; it is not used under this name."
            log.add(Code.IMAGE_WRONG_EXTENSION, seen, path=name)
        else:
            log.add(Code.FILE_NOT_AN_IMAGE, f"{name!r} is not named like an image.", path=name)
    _note_names_alike(log, found)
    for split, roots in found.split_folders.items():
        if len(roots) > 1:
            both = " and ".join(f"{root}/" for root in roots)
            log.add(
                Code.SPLIT_FOLDERS_MERGED, f"{both} are read together as the {split} split.", path=roots[1]
            )
    if found.split_folders and not found.class_folders.get("train") and "train" not in found.split_folders:
        named = ", ".join(f"{root}/" for roots in found.split_folders.values() for root in roots)
        log.add(Code.SPLIT_TRAIN_MISSING, f"There is {named} and no train/.")
    if not found.samples and not found.unknown_class:
        log.add(Code.NO_IMAGES, "No image lies in the folder of a class.")


def _note_names_alike(log: FindingLog, found: ImageFolderIndex) -> None:
    first: dict[str, str] = {}
    for name in found.classes:
        plain = "".join(character for character in identity(name) if character.isalnum()) or name
        other = first.setdefault(plain, name)
        if other != name:
            seen = f"Classes {other!r} and {name!r} differ in capitals, spaces or punctuation only."
            log.add(Code.CLASS_NAMES_ALIKE, seen, path=found.class_folders["train"][name])


def _summaries(usable: ImageFolderIndex) -> dict[str, SplitSummary]:
    counts = Counter((sample.split, sample.class_index) for sample in usable.samples)
    present = [split for split in _SPLITS if split in usable.class_folders]
    summaries = {}
    for split in present:
        per_class = {name: counts[split, number] for number, name in enumerate(usable.classes)}
        summaries[split] = SplitSummary(samples=sum(per_class.values()), per_class=per_class)
    return summaries


def _note_classes(log: FindingLog, usable: ImageFolderIndex, splits: Mapping[str, SplitSummary]) -> None:
    train = splits.get("train")
    if train is None:
        return
    if len(usable.classes) == 1:
        log.add(Code.CLASS_SINGLE, f"{usable.classes[0]!r} is the only class.")
    if usable.has_val and not any(sample.split == "val" for sample in usable.samples):
        log.add(Code.SPLIT_EMPTY, "The val split has no usable image.", path=usable.split_folders["val"][0])
    for split, folders in usable.class_folders.items():
        for name, folder in folders.items():
            if name not in usable.classes:
                log.add(
                    Code.CLASS_NOT_IN_TRAIN, f"Class {name!r} is in {split} and not in train.", path=folder
                )
            elif split in splits and not splits[split].per_class[name]:
                code = Code.CLASS_MISSING_IN_TEST if split == "test" else Code.CLASS_EMPTY
                log.add(code, f"Class {name!r} has no usable image in {folder}/.", path=folder)
    for split, code in (("val", Code.CLASS_MISSING_IN_SPLIT), ("test", Code.CLASS_MISSING_IN_TEST)):
        if split in splits and splits[split].samples:
            for name in usable.classes:
                if name not in usable.class_folders[split]:
                    seen = f"Class {name!r} is in train and not in {split}."
                    log.add(code, seen, path=usable.class_folders["train"][name])
    note_class_sizes(log, splits)


def _groups(
    log: FindingLog, usable: ImageFolderIndex, contents: Sequence[int], copies: Copies
) -> tuple[int, ...]:
    """The groups that an automatic split keeps together; empty where every image is one by itself.

    Adds findings about classes that cannot be split.
    """
    labels = array("i", (sample.class_index if sample.split == "train" else -1 for sample in usable.samples))
    groups, exact = (likeness_groups(contents, near) for near in (copies.near, ()))
    all_alike = {label for label, fits in splittable(labels, groups).items() if not fits}
    unsplittable = {label for label, fits in splittable(labels, exact).items() if not fits}
    for number in sorted(all_alike - {-1}):
        name = usable.classes[number]
        folder = usable.class_folders["train"][name]
        if number in unsplittable:
            seen = f"Class {name!r} has fewer than two different images of its own, too few for a split."
            log.add(Code.CLASS_NOT_SPLITTABLE, seen, path=folder)
        else:
            seen = f"The images of class {name!r} are nearly alike: a split has to put some on either side."
            log.add(Code.CLASS_ALL_ALIKE, seen, path=folder)
    # Better a split with near copies on both sides, and a finding that says so, than none.
    dissolved = {group for group, label in zip(groups, labels, strict=True) if label in all_alike}
    if dissolved:
        groups = _numbered(
            (0, own) if group in dissolved else (1, group) for group, own in zip(groups, exact, strict=True)
        )
    return tuple(groups) if max(groups, default=-1) + 1 < len(groups) else ()


def _numbered(keys: Iterable[tuple[int, int]]) -> Sequence[int]:
    numbers: dict[tuple[int, int], int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
