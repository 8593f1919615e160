"""Which images of a YOLO dataset belong to which split, and where each one's label is; by names alone.

A data.yaml decides where there is one, and the usual names of folders where there is none. Neither images nor
labels are opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tuneyard.datasets.codes import Code
from tuneyard.datasets.names import SPLIT_FOLDERS, extension, is_image_name
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source
from tuneyard.datasets.yolo_paths import Paths, Place, Written, is_rooted, join
from tuneyard.datasets.yolo_yaml import DataYaml, Entry, parse_data_yaml

SPLITS = ("train", "val", "test")

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
_LABEL_FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}
_MAX_CLASS_LIST_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What the names and the data.yaml say."""

    splits: Mapping[str, tuple[str, ...]]
    """Images by split, sorted; "train" is always there, the others where the dataset brings them."""
    labels: Mapping[str, str]
    """The label file of each image that has one."""
    split_folders: Mapping[str, tuple[str, ...]]
    """What holds each split: folders, lists, or "" for the root."""
    classes: tuple[str, ...] | None
    """None where nothing names them."""
    names_refused: bool
    """Whether something names them in a way that is of no use."""
    keypoint_values: int
    outside: tuple[str, ...]
    """Images that belong to no split."""
    description: frozenset[str]
    """The files that describe the dataset: the data.yaml, and lists of images or classes."""

    @property
    def images(self) -> tuple[str, ...]:
        """All images of the splits, each once, sorted."""
        return tuple(sorted({name for names in self.splits.values() for name in names}))


def lay_out(source: Source, log: FindingLog) -> Layout:
    """Finds splits, labels and classes, and notes what the data.yaml has wrong."""
    paths = Paths(source)
    described = _read_yaml(source, log)
    if described is None or not described.splits:
        described = _with_lists(source, described)
    splits: dict[str, tuple[str, ...]] = {}
    roots: dict[str, tuple[str, ...]] = {}
    lists: set[str] = set()
    if described is not None and described.splits:
        reader = _Described(source, paths, described, log)
        reader.note_path()
        for split in SPLITS:
            if split in described.splits:
                found = reader.images(split)
                splits[split], roots[split] = found.images, found.roots
                lists |= found.lists
    else:
        splits, roots = _by_folders(source)
    splits.setdefault("train", ())
    class_list = next(
        (name for name in source.names() if name.rpartition("/")[2].casefold() in _CLASS_LISTS), None
    )
    classes = described.classes if described is not None else None
    if classes is None and class_list is not None:
        classes = _read_class_list(source, class_list, log)
    named = (class_list or "", described.name if described is not None else "")
    used = {name for names in splits.values() for name in names}
    return Layout(
        splits=splits,
        labels=_labels(source, used),
        split_folders=roots,
        classes=classes,
        names_refused=described is not None and described.names_refused,
        keypoint_values=described.keypoint_values if described is not None else 0,
        outside=tuple(name for name in source.names() if is_image_name(name) and name not in used),
        description=frozenset({*lists, *named} - {""}),
    )


def label_names(image: str) -> Sequence[str]:
    """Where an image's label may be, the usual place first: `labels/` for `images/`, or beside the image."""
    stem = image[: len(image) - len(extension(image))]
    *folders, last = stem.split("/")
    beside = f"{stem}.txt"
    for number in reversed(range(len(folders))):
        if labels := _LABEL_FOLDERS.get(folders[number]):
            return ("/".join([*folders[:number], labels, *folders[number + 1 :], f"{last}.txt"]), beside)
    return (beside,)


def _labels(source: Source, images: set[str]) -> dict[str, str]:
    texts = {name for name in source.names() if extension(name) == ".txt"}
    found = ((image, next((name for name in label_names(image) if name in texts), "")) for image in images)
    return {image: label for image, label in found if label}


def _read_yaml(source: Source, log: FindingLog) -> DataYaml | None:
    """The data.yaml at the root, or in the only folder that has one."""
    found = [name for name in source.names() if extension(name) in (".yaml", ".yml") and name.count("/") < 2]
    top = [name for name in found if "/" not in name] or found
    usual = [name for name in top if name.rpartition("/")[2].casefold() in _YAML_NAMES]
    candidates = usual or top
    if len(candidates) > 1:
        named = ", ".join(map(repr, candidates[:5]))
        log.add(Code.YAML_AMBIGUOUS, f"{named} could each describe the dataset.", path=candidates[1])
    if not candidates:
        return None
    # The first chunk is larger than what is parsed, and enough to see that a file is too large.
    return parse_data_yaml(next(source.chunks(candidates[0]), b""), name=candidates[0], log=log)


def _with_lists(source: Source, described: DataYaml | None) -> DataYaml | None:
    """Splits by `train.txt` and the like, as Darknet and CVAT write them, where nothing else names any."""
    names = [name for name in source.names() if name.count("/") < 2 and extension(name) == ".txt"]
    lists = {name.rpartition("/")[2].casefold()[: -len(".txt")]: name for name in reversed(names)}
    # A label may bear such a name too: it belongs to an image, and its lines are no images.
    found = {
        split: (Entry(lists[word], 1),)
        for word, split in SPLIT_FOLDERS.items()
        if word in lists and _lists_images(source, lists[word])
    }
    if "train" not in found:
        return described
    return (
        replace(described, splits=found) if described is not None else DataYaml(lists["train"], splits=found)
    )


def _lists_images(source: Source, name: str) -> bool:
    """Whether the first line of a text file names an image."""
    start = next(source.chunks(name), b"").lstrip(b"\xef\xbb\xbf \r\n")
    return is_image_name(start.partition(b"\n")[0].decode("utf-8", "replace").strip())


def _read_class_list(source: Source, name: str, log: FindingLog) -> tuple[str, ...] | None:
    """The names in a file that has one on each line."""
    if source.size(name) > _MAX_CLASS_LIST_BYTES:
        return None
    try:
        text = source.read(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        log.add(Code.LABEL_NOT_TEXT, f"{name!r} is not UTF-8 text.", path=name, line=1)
        return None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    seen: set[str] = set()
    for number, line in lines:
        if line in seen:
            seen_twice = f"In {name!r} two classes have the name {line!r}."
            log.add(Code.CLASS_NAME_REPEATED, seen_twice, path=name, line=number)
        seen.add(line)
    return tuple(line for _, line in lines) or None


@dataclass(frozen=True)
class _Found:
    images: tuple[str, ...]
    roots: tuple[str, ...]
    lists: frozenset[str]


class _Described:
    """The splits as a data.yaml describes them."""

    def __init__(self, source: Source, paths: Paths, described: DataYaml, log: FindingLog) -> None:
        self._source = source
        self._paths = paths
        self._described = described
        self._log = log
        self._home = described.name.rpartition("/")[0]

    def note_path(self) -> None:
        """Notes where `path` names a place on somebody's machine."""
        path = self._described.path
        if path is None or (written := self._paths.written(path.text, base=self._home)) is Written.INSIDE:
            return
        code = Code.YAML_PATH_OUTSIDE if written is Written.OUTSIDE else Code.YAML_PATH_REWRITTEN
        seen = f"In {self._described.name!r} the path {path.text!r} is not in the dataset"
        self._log.add(
            code, f"{seen}; the dataset's own folder is used.", path=self._described.name, line=path.line
        )

    def images(self, split: str) -> _Found:
        images: set[str] = set()
        roots: list[str] = []
        lists: set[str] = set()
        for entry in self._described.splits[split]:
            place = self._place(split, entry)
            if place is None:
                continue
            roots.append(place.name)
            if self._paths.folder(place.name):
                images.update(name for name in self._paths.below(place.name) if is_image_name(name))
            else:
                lists.add(place.name)
                images.update(self._listed(place.name))
        return _Found(tuple(sorted(images)), tuple(roots), frozenset(lists))

    def _bases(self) -> list[str]:
        """The folders that a relative path may start from."""
        path = self._described.path
        bases = [self._home, ""]
        if path is not None and not is_rooted(path.text):
            bases = [join(self._home, path.text), path.text, *bases]
        return bases

    def _place(self, split: str, entry: Entry) -> Place | None:
        place = self._paths.find(entry.text, bases=self._bases(), folders=True)
        if place is None or not (self._paths.folder(place.name) or extension(place.name) == ".txt"):
            code = Code.SPLIT_TEST_PATH_MISSING if split == "test" else Code.SPLIT_PATH_MISSING
            seen = f"In {self._described.name!r} {split} is {entry.text!r}, which is not in the dataset."
            self._log.add(code, seen, path=self._described.name, line=entry.line)
            return None
        self._note_rewritten(entry, place)
        return place

    def _note_rewritten(self, entry: Entry, place: Place) -> None:
        found = f"{place.name or '.'!r} of the dataset is used"
        if place.written is Written.OUTSIDE:
            seen = f"In {self._described.name!r} {entry.text!r} leads out of the dataset; {found}."
            self._log.add(Code.YAML_PATH_OUTSIDE, seen, path=self._described.name, line=entry.line)
        elif place.written is not Written.INSIDE:
            seen = f"In {self._described.name!r} {entry.text!r} is not a path in the dataset; {found}."
            self._log.add(Code.YAML_PATH_REWRITTEN, seen, path=self._described.name, line=entry.line)

    def _listed(self, list_name: str) -> list[str]:
        """The images that a list names, one on each line."""
        folder = list_name.rpartition("/")[0]
        images: list[str] = []
        rewritten = False
        text = self._source.read(list_name).decode("utf-8-sig", "replace")
        for number, line in enumerate(text.split("\n"), start=1):
            if not (written := line.strip()):
                continue
            place = self._paths.find(written, bases=[folder, *self._bases()], folders=False)
            if place is None or not is_image_name(place.name):
                seen = (
                    f"Line {number} of {list_name!r} is {written[:200]!r}, which is no image of the dataset."
                )
                self._log.add(Code.SPLIT_LIST_ENTRY_MISSING, seen, path=list_name, line=number)
                continue
            images.append(place.name)
            if place.written is not Written.INSIDE and not rewritten:
                rewritten = True
                seen = f"{list_name!r} names paths outside the dataset, such as {written[:200]!r};"
                self._log.add(
                    Code.YAML_PATH_REWRITTEN,
                    f"{seen} the images of the dataset that bear the names are used.",
                    path=list_name,
                    line=number,
                )
        return images


def _by_folders(source: Source) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Splits by the names of folders: `images/train`, `train/images`, `train`, or `images` for all."""
    images = _of_the_dataset(source)
    splits: dict[str, list[str]] = {}
    roots: dict[str, dict[str, None]] = {}
    for name in images:
        split, root = _split_of(name)
        splits.setdefault(split, []).append(name)
        roots.setdefault(split, {})[root] = None
    unplaced = splits.pop("", [])
    flat = roots.pop("", {})
    if not splits and unplaced:
        return {"train": tuple(unplaced)}, {"train": tuple(flat)}
    return (
        {split: tuple(splits[split]) for split in SPLITS if split in splits},
        {split: tuple(roots[split]) for split in SPLITS if split in roots},
    )


def _of_the_dataset(source: Source) -> list[str]:
    """The images below folders called `images`, or all others where more of those have labels."""
    texts = {name for name in source.names() if extension(name) == ".txt"}
    inside: list[str] = []
    others: list[str] = []
    labelled = [0, 0]
    for name in source.names():
        if is_image_name(name):
            is_other = "images" not in name.casefold().split("/")[:-1]
            (others if is_other else inside).append(name)
            labelled[is_other] += any(label in texts for label in label_names(name))
    return others if labelled[1] > labelled[0] or not inside else inside


def _split_of(name: str) -> tuple[str, str]:
    """The split that an image's folders name, or "", and the folder that holds it."""
    folders = name.split("/")[:-1]
    folded = [folder.casefold() for folder in folders]
    order = list(range(len(folders)))
    if "images" in folded:
        at = folded.index("images")
        # The folders next to `images` are asked first: any other may bear such a name by accident.
        order = [number for number in (at + 1, at - 1) if 0 <= number < len(folders)] + order
    for number in order:
        if folded[number] in SPLIT_FOLDERS:
            end = number + 1
            if "images" in folded[end : end + 1]:
                end += 1
            return SPLIT_FOLDERS[folded[number]], "/".join(folders[:end])
    return "", "/".join(folders)
