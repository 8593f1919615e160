"""What a text-to-image training gets of a dataset of captioned images: samples, splits, versions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.defects_captioned import clean_set, photo
from tuneyard.datasets import Code, Exclusion, Report, check, prepare
from tuneyard.datasets.captioned import FORMAT, CaptionedIndex, CaptionedSample, index, likeness, split
from tuneyard.datasets.captioned_layout import repeats_of

Write = Callable[..., Path]
Draw = Callable[..., bytes]


def captions(found: CaptionedIndex, name: str = "train") -> dict[str, str]:
    return {sample.path: sample.caption for sample in found.splits[name]}


def test_a_sample_is_an_image_with_its_caption_on_one_line(write_folder: Write, draw: Draw) -> None:
    files = {"a/1.png": draw(1, size=(8, 4)), "a/1.txt": b"\xef\xbb\xbfa red\r\nhouse \n", "b/2.png": draw(2)}
    sample = index(write_folder(files)).splits["train"][0]
    assert sample == CaptionedSample("a/1.png", "a red house", "", 1, False, (8, 4))


@pytest.mark.parametrize("caption", ["1.txt", "1.caption", "1.png.txt", "1.TXT"])
def test_captions_have_the_names_of_images(write_folder: Write, draw: Draw, caption: str) -> None:
    assert captions(index(write_folder({"1.png": draw(1), caption: b"a"}))) == {"1.png": "a"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", b'{"file_name": "x/1.png", "text": "a, b"}\n'),
        ("metadata.jsonl", b'[{"image": "x\\\\1.png", "caption": "a, b"}]'),
        ("metadata.csv", b'\xef\xbb\xbffile_name,text\r\nx/1.png,"a, b"\r\n'),
        ("metadata.csv", b"size;text;file_name\n3;a, b;./x/1.png\n"),
        ("x/captions.csv", b'filename\tprompt\n1.png\t"a,\n b"\n'),
    ],
)
def test_captions_are_read_from_metadata(write_folder: Write, draw: Draw, name: str, content: bytes) -> None:
    found = index(write_folder({"x/1.png": draw(1), "2.png": draw(2), name: content}))
    assert captions(found) == {"x/1.png": "a, b", "2.png": ""}


def test_a_text_beside_the_image_counts_before_metadata_unless_it_is_empty(
    write_folder: Write, draw: Draw
) -> None:
    lines = b"".join(b'{"file_name": "%d.png", "text": "meta"}\n' % number for number in (1, 2))
    files = {"1.png": draw(1), "1.txt": b"own", "2.png": draw(2), "2.txt": b"", "metadata.jsonl": lines}
    assert captions(index(write_folder(files))) == {"1.png": "own", "2.png": "meta"}


def test_names_in_metadata_may_differ_in_capitals(write_folder: Write, draw: Draw) -> None:
    files = {
        "IMG_1.PNG": draw(1),
        "2.png": draw(2),
        "metadata.csv": b"file_name,text\nimg_1.png,a\n2.png,b\n",
    }
    assert captions(index(write_folder(files))) == {"IMG_1.PNG": "a", "2.png": "b"}


def test_boxes_do_not_pass_for_captions(write_folder: Write) -> None:
    files = clean_set()
    files |= {name: b"0 0.5 0.5 0.1 0.1\n" for name in files if name.endswith(".txt")}
    assert check(write_folder(files), format=FORMAT).counts == {"FORMAT_SEEMS_OTHER": 1}


def test_kohyas_folders_say_repeats_prompts_and_class_images(write_folder: Write, draw: Draw) -> None:
    names = ["img/10_sks dog/1.png", "img/10_sks dog/more/2.png", "img/plain/3.png", "reg/2_dog/4.png"]
    found = index(write_folder({name: draw(seed) for seed, name in enumerate(names)}))
    of_instance = [(sample.repeats, sample.folder_prompt) for sample in found.splits["train"]]
    assert of_instance == [(10, "sks dog"), (10, "sks dog"), (1, "")]
    (of_class,) = found.class_images
    assert (of_class.repeats, of_class.folder_prompt, of_class.is_class) == (2, "dog", True)


@pytest.mark.parametrize(
    ("folder", "found"),
    [("10_dog", (10, "dog")), ("3_my_dog ", (3, "my_dog")), ("10_", None), ("dog_10", None), ("10", None)],
)
def test_folders_with_repeats_are_told_from_others(folder: str, found: tuple[int, str] | None) -> None:
    assert repeats_of(folder) == found


def test_splits_of_the_dataset_are_kept_apart_from_class_images(write_folder: Write, draw: Draw) -> None:
    names = ["train/1.png", "train/class/2.png", "Valid/3.png", "test/4.png", "reg/5.png", "other/6.png"]
    found = index(write_folder({name: draw(seed) for seed, name in enumerate(names)}))
    assert found.has_val
    assert {name: [sample.path for sample in of] for name, of in found.splits.items()} == {
        "train": ["train/1.png"],
        "val": ["Valid/3.png"],
        "test": ["test/4.png"],
    }
    assert [sample.path for sample in found.class_images] == ["reg/5.png", "train/class/2.png"]


@pytest.mark.parametrize("around", ["", "set/"])
def test_a_single_folder_of_repeats_keeps_its_name(write_zip: Write, tmp_path: Path, around: str) -> None:
    names = ["1.jpg", "1.txt", "more/2.jpg", "more/2.txt"]
    files = {
        f"{around}10_sks dog/{name}": photo(seed) if name.endswith(".jpg") else b"a"
        for seed, name in enumerate(names)
    }
    archive = write_zip(files, method=0)
    prepare(archive, tmp_path / "out", format=FORMAT)
    for path in (archive, tmp_path / "out"):
        assert check(path, format=FORMAT).splits["train"].per_class["instance"] == 20
    assert [sample.repeats for sample in index(tmp_path / "out").splits["train"]] == [10, 10]


def test_what_the_report_excludes_and_what_is_no_image_is_left_out(write_folder: Write, draw: Draw) -> None:
    root = write_folder({"1.png": draw(1), "2.png": b"text", "3.png": draw(3)})
    report = replace(Report(format=FORMAT), excluded=("3.png",))
    assert list(captions(index(root, report))) == ["1.png"]


def drawn_index(tmp_path: Path, count: int) -> CaptionedIndex:
    samples = [CaptionedSample(f"{number:03}.png", "", "", 1, False, (8, 8)) for number in range(count)]
    return CaptionedIndex(tmp_path, {"train": tuple(samples)})


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (5, 1), (20, 3), (100, 15)])
def test_a_split_holds_out_a_share_and_at_least_one(tmp_path: Path, count: int, held_out: int) -> None:
    divided = split(drawn_index(tmp_path, count), validation_share=0.15, seed=1)
    assert len(divided.splits["val"]) == held_out
    assert {*captions(divided)} | {*captions(divided, "val")} == {*captions(drawn_index(tmp_path, count))}


def test_a_split_follows_from_its_seed(tmp_path: Path) -> None:
    found = drawn_index(tmp_path, 40)
    one, again, other = (split(found, validation_share=0.2, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_copies_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    groups = {f"{number:03}.png": number // 4 for number in range(40)}
    for seed in range(10):
        divided = split(drawn_index(tmp_path, 40), validation_share=0.15, seed=seed, groups=groups)
        train, val = ({groups[path] for path in captions(divided, name)} for name in ("train", "val"))
        assert train.isdisjoint(val) and val


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two different"):
        split(drawn_index(tmp_path, 1), validation_share=0.15, seed=0)


def test_the_report_tells_which_images_stay_together(write_folder: Write) -> None:
    files = clean_set() | {"x.jpg": photo(3), "reg/1.jpg": photo(100)}
    root = write_folder(files)
    report = check(root, format=FORMAT)
    groups = likeness(index(root, report), report)
    assert groups["x.jpg"] == groups["03.jpg"] != groups["04.jpg"]
    assert likeness(index(root), Report(format=FORMAT))["x.jpg"] == groups["03.jpg"]


def test_images_kept_for_tests_do_not_make_a_dataset_splittable(write_folder: Write) -> None:
    report = check(
        write_folder({"test/1.jpg": photo(1), "test/2.jpg": photo(2), "3.jpg": photo(3)}), format=FORMAT
    )
    assert report.counts["IMAGES_NOT_SPLITTABLE"] == 1


def test_class_images_beside_training_are_no_samples(write_folder: Write) -> None:
    files = {f"{number}.jpg": photo(number) for number in range(3)}
    root = write_folder(files | {"x.jpg": photo(1), "test/class/4.jpg": photo(4)})
    report = check(root, format=FORMAT)
    assert len(report.groups) == report.samples == 4
    groups = likeness(index(root, report), report)
    assert groups["x.jpg"] == groups["1.jpg"] != groups["2.jpg"]


def test_a_version_leaves_out_captions_with_their_images_and_is_clean(write_folder: Write) -> None:
    root = write_folder(clean_set() | {"03.txt": b"long " * 100, "05.txt": b""})
    exclusion = Exclusion(paths=["01.jpg"], codes=[Code.CAPTION_LONG, Code.CAPTION_EMPTY])
    report = check(root, format=FORMAT, exclusion=exclusion)
    assert report.findings == () and report.samples == 17
    assert report.excluded == ("01.jpg", "01.txt", "03.jpg", "03.txt", "05.jpg", "05.txt")


def test_a_version_keeps_the_metadata_that_describes_what_it_leaves_out(write_folder: Write) -> None:
    files = {name: data for name, data in clean_set().items() if name.endswith(".jpg")}
    texts = {name: "" if name == "03.jpg" else f"patches in {name}" for name in files}
    lines = "".join(f'{{"file_name": "{name}", "text": "{text}"}}\n' for name, text in texts.items())
    root = write_folder(files | {"metadata.jsonl": lines.encode()})
    report = check(root, format=FORMAT, exclusion=Exclusion(codes=[Code.CAPTION_EMPTY]))
    assert report.findings == () and report.excluded == ("03.jpg",)
