"""Where images and labels are found, by folders' names and by what a data.yaml says."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets import FolderSource, open_source
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.yolo_layout import Layout, label_names, lay_out

PARTS = st.sampled_from(["images", "labels", "train", "val", "..", ".", "", "C:", "~", "a", "1.jpg", "1.txt"])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)

KINDS = (("images", "jpg"), ("labels", "txt"))

LayOut = Callable[..., tuple[Layout, list[str]]]


@pytest.fixture
def laid_out(write_folder: Callable[..., Path]) -> LayOut:
    """The layout of files with these names, and the codes of what is noted."""

    def of(
        *names: str, yaml: str | None = None, more: Mapping[str, bytes] | None = None
    ) -> tuple[Layout, list[str]]:
        files = {**dict.fromkeys(names, b""), **(more or {})}
        if yaml is not None:
            files["data.yaml"] = yaml.encode()
        log = FindingLog()
        layout = lay_out(open_source(write_folder(files)), log)
        return layout, [finding.code.value for finding in log.findings()]

    return of


@pytest.mark.parametrize(
    ("image", "split"),
    [
        ("images/train/1.jpg", "train"),
        ("train/images/1.jpg", "train"),
        ("images/Val/1.jpg", "val"),
        ("valid/images/1.jpg", "val"),
        ("images/validation/a/b/1.jpg", "val"),
        ("set/images/test/1.jpg", "test"),
        ("test/images/train/1.jpg", "train"),
    ],
)
def test_folders_name_the_split(laid_out: LayOut, image: str, split: str) -> None:
    layout, _ = laid_out("images/train/0.jpg", image, "README.md")
    assert image in layout.splits[split]


def test_folders_of_splits_may_hold_images_and_labels_side_by_side(laid_out: LayOut) -> None:
    layout, _ = laid_out("train/1.jpg", "train/1.txt", "test/2.jpg", "README.md")
    assert layout.splits == {"train": ("train/1.jpg",), "test": ("test/2.jpg",)}
    assert layout.labels == {"train/1.jpg": "train/1.txt"}


@pytest.mark.parametrize("image", ["images/1.jpg", "1.jpg", "photos/1.jpg"])
def test_without_folders_of_splits_everything_is_for_training(laid_out: LayOut, image: str) -> None:
    layout, _ = laid_out(image, "README.md")
    assert layout.splits == {"train": (image,)}


def test_a_picture_beside_the_images_folder_belongs_to_no_split(laid_out: LayOut) -> None:
    layout, _ = laid_out("images/1.jpg", "labels/1.txt", "preview.png")
    assert layout.outside == ("preview.png",)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/1.jpg", "labels/train/1.txt"),
        ("train/images/a.b.jpg", "train/labels/a.b.txt"),
        ("images/images/1.png", "images/labels/1.txt"),
        ("photos/1.jpg", "photos/1.txt"),
    ],
)
def test_the_label_of_an_image_has_its_name(image: str, label: str) -> None:
    assert label_names(image)[0] == label


def test_a_label_beside_the_image_is_found_too(laid_out: LayOut) -> None:
    layout, _ = laid_out("images/1.jpg", "images/1.txt", "README.md")
    assert layout.labels == {"images/1.jpg": "images/1.txt"}


@pytest.mark.parametrize(
    ("written", "codes"),
    [
        ("images/a", []),
        ("./images/a/", []),
        (r"images\a", []),
        ("/home/somebody/set/images/a", ["YAML_PATH_REWRITTEN"]),
        ("~/set/images/a", ["YAML_PATH_REWRITTEN"]),
        ("D:/set/images/a", ["YAML_PATH_REWRITTEN"]),
        ("https://example.org/set/images/a", ["YAML_PATH_REWRITTEN"]),
        ("set/images/a", ["YAML_PATH_REWRITTEN"]),
        ("../images/a", ["YAML_PATH_OUTSIDE"]),
        ("images/../../../images/a", ["YAML_PATH_OUTSIDE"]),
        ("images/b/../a", []),
    ],
)
def test_a_path_is_found_inside_the_dataset_or_not_at_all(
    laid_out: LayOut, written: str, codes: list[str]
) -> None:
    layout, noted = laid_out("images/a/1.jpg", "images/b/1.jpg", yaml=f"train: {written}\n")
    assert layout.splits["train"] == ("images/a/1.jpg",)
    assert noted == codes


@pytest.mark.parametrize("written", ["/etc", "../../etc/passwd", "/proc/self/environ", "nothing/here"])
def test_what_lies_outside_is_never_looked_at(laid_out: LayOut, written: str) -> None:
    layout, noted = laid_out("images/a/1.jpg", yaml=f"train: {written}\n")
    assert layout.splits["train"] == ()
    assert noted == ["SPLIT_PATH_MISSING"]


@pytest.mark.parametrize("path", ["", "path: .\n", "path: shapes\n", "path: images/..\n"])
def test_the_root_may_be_called_anything_relative(laid_out: LayOut, path: str) -> None:
    layout, noted = laid_out("images/a/1.jpg", yaml=f"{path}train: images/a\n")
    assert layout.splits["train"] == ("images/a/1.jpg",)
    assert noted == []


def test_several_folders_make_one_split(laid_out: LayOut) -> None:
    layout, _ = laid_out("a/1.jpg", "b/1.jpg", "c/1.jpg", yaml="train: [a, b]\nval: c\n")
    assert layout.splits == {"train": ("a/1.jpg", "b/1.jpg"), "val": ("c/1.jpg",)}


def test_a_list_is_relative_to_its_folder_or_to_the_root(laid_out: LayOut) -> None:
    listed = b"\xef\xbb\xbf./1.jpg\r\n\r\nimages/2.jpg\r\nimages/9.jpg\r\n"
    layout, noted = laid_out(
        "images/1.jpg",
        "images/2.jpg",
        "images/3.jpg",
        yaml="train: images/train.txt\n",
        more={"images/train.txt": listed},
    )
    assert layout.splits["train"] == ("images/1.jpg", "images/2.jpg")
    assert layout.outside == ("images/3.jpg",)
    assert noted == ["SPLIT_LIST_ENTRY_MISSING"]


def test_lists_beside_the_images_make_splits_as_cvat_writes_them(laid_out: LayOut) -> None:
    layout, noted = laid_out(
        "obj_train_data/1.jpg",
        "obj_train_data/1.txt",
        "obj_train_data/2.jpg",
        "obj_train_data/2.txt",
        more={
            "obj.names": b"cat\ndog\n",
            "train.txt": b"obj_train_data/1.jpg\n",
            "Valid.txt": b"obj_train_data/2.jpg\n",
        },
    )
    assert layout.splits == {"train": ("obj_train_data/1.jpg",), "val": ("obj_train_data/2.jpg",)}
    assert layout.labels["obj_train_data/1.jpg"] == "obj_train_data/1.txt"
    assert layout.classes == ("cat", "dog")
    assert noted == []


def test_a_label_called_train_is_no_list(laid_out: LayOut) -> None:
    layout, _ = laid_out("a/train.jpg", "a/bus.jpg", "b/x", more={"a/train.txt": b"0 0.5 0.5 0.1 0.1\n"})
    assert layout.splits["train"] == ("a/bus.jpg", "a/train.jpg")


def test_pictures_of_a_manual_are_not_taken_for_the_dataset(laid_out: LayOut) -> None:
    layout, _ = laid_out("train/1.jpg", "train/1.txt", "docs/images/logo.png", "docs/index.html")
    assert layout.splits == {"train": ("train/1.jpg",)}
    assert layout.outside == ("docs/images/logo.png",)


def test_a_yaml_in_the_only_folder_that_has_one_counts(laid_out: LayOut) -> None:
    layout, noted = laid_out(
        "README.md", "set/images/1.jpg", more={"set/any.yml": b"train: images\nnames: [cat]\n"}
    )
    assert layout.splits["train"] == ("set/images/1.jpg",)
    assert layout.classes == ("cat",)
    assert noted == []


def test_folders_decide_where_the_yaml_names_no_split(laid_out: LayOut) -> None:
    layout, _ = laid_out("images/train/1.jpg", "images/val/1.jpg", yaml="names: [cat]\n")
    assert set(layout.splits) == {"train", "val"}


class InMemory(FolderSource):
    """Files by name, without a folder."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._names = tuple(sorted(files))
        self.folders = tuple(sorted({name.rpartition("/")[0] for name in files} - {""}))
        self.links, self.ignored = (), 0

    def size(self, name: str) -> int:
        return len(self._files[name])

    def read(self, name: str) -> bytes:
        return self._files[name]

    def chunks(self, name: str) -> Iterator[bytes]:
        yield self._files[name]


@given(
    names=st.sets(PATHS.filter(lambda path: {"..", ".", "", "~"}.isdisjoint(path.split("/"))), max_size=8),
    paths=st.dictionaries(st.sampled_from(["path", "train", "val", "test"]), PATHS),
    listed=st.lists(PATHS, max_size=4),
)
def test_no_paths_lead_to_anything_but_the_images_there(
    names: set[str], paths: dict[str, str], listed: list[str]
) -> None:
    yaml = "".join(f"{key}: '{path}'\n" for key, path in paths.items()).encode()
    files = {**dict.fromkeys(names, "\n".join(listed).encode()), "data.yaml": yaml}
    layout = lay_out(InMemory(files), FindingLog())
    images = {name for name in names if name.endswith(".jpg")}
    assert {*layout.images} | {*layout.outside} == images
    assert {*layout.labels} <= {*layout.images}
    assert {*layout.labels.values()} <= names


def test_a_hundred_thousand_images_are_placed_in_seconds() -> None:
    names = [f"{kind}/train/{number:06d}.{end}" for number in range(100_000) for kind, end in KINDS]
    lists = {"train.txt": "\n".join(f"/home/somebody/set/{name}" for name in names[::2]).encode()}
    started = time.process_time()
    layout = lay_out(
        InMemory({**dict.fromkeys(names, b""), **lists, "data.yaml": b"train: train.txt"}), FindingLog()
    )
    assert len(layout.labels) == len(layout.splits["train"]) == 100_000
    assert time.process_time() - started < 20
