"""Which images a training gets with which captions, what is held out, and what it is told."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.defects_images import encoded, picture
from tuneyard.datasets import check
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.samples import Splits, make_splits, samples_sha256, tell_of_samples
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

Make = Callable[..., FakeRun]


def config(**changes: object) -> TextToImageConfig:
    return TextToImageConfig(**({"base_model": "models/tiny", "resolution": 64} | changes))  # type: ignore[arg-type]


def dataset(root: Path, names: Mapping[str, str | None], *, sha256: str = "a" * 64) -> DatasetFiles:
    """Different pictures, with a caption each unless it is None."""
    for seed, (name, caption) in enumerate(names.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed)))
        if caption is not None:
            path.with_suffix(".txt").write_text(caption)
    return DatasetFiles(root, sha256, check(root, format="captioned-images"))


def captioned(count: int, prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{number:02}.png": f"picture {number}" for number in range(count)}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(
        names: Mapping[str, str | None], *, validation: Mapping[str, str | None] | None = None
    ) -> FakeRun:
        other = None
        if validation is not None:
            other = dataset(tmp_path / "other", validation, sha256="b" * 64)
        return FakeRun(
            root=tmp_path / "run", training_files=dataset(tmp_path / "set", names), validation_files=other
        )

    return make


def names(splits: Splits) -> tuple[list[str], list[str]]:
    return [each.name for each in splits.train], [each.name for each in splits.validation]


def warnings(run: FakeRun) -> set[str]:
    return {warning["code"] for warning in run.all_of("warning")}


def test_a_share_is_held_out_and_stays_the_same(make: Make) -> None:
    run = make(captioned(20))
    splits = make_splits(config(seed=3), run)
    train, validation = names(splits)
    assert len(validation) == 3 and sorted(train + validation) == sorted(captioned(20))
    assert make_splits(config(seed=3), run) == splits != make_splits(config(seed=4), run)
    assert splits.train[0].path.is_file() and splits.train[0].size == (72, 72)


def test_the_datasets_own_val_split_is_taken(make: Make) -> None:
    splits = make_splits(config(), make(captioned(4, "train/") | {"val/x.png": "held out"}))
    assert names(splits)[1] == ["val/x.png"] and len(splits.train) == 4


def test_a_validation_dataset_is_taken_first(make: Make) -> None:
    run = make(captioned(4, "train/") | {"val/x.png": "x"}, validation={"y.png": "y", "z.png": "z"})
    splits = make_splits(config(), run)
    assert names(splits)[1] == ["y.png", "z.png"] and len(splits.train) == 4
    assert splits.held_out_sha256 == samples_sha256("b" * 64, splits.validation)


def test_captions_come_from_the_image_the_job_or_the_folder(make: Make) -> None:
    images = {"10_sks dog/1.png": "own", "10_sks dog/2.png": None, "plain/3.png": None}
    run = make({f"train/{name}": caption for name, caption in images.items()} | {"val/1.png": "v"})
    of_folder = {each.name: each.caption for each in make_splits(config(), run).train}
    assert list(of_folder.values()) == ["own", "sks dog", ""]
    prompted = make_splits(config(instance_prompt="a sks dog"), run)
    assert [each.caption for each in prompted.train] == ["own", "a sks dog", "a sks dog"]
    assert prompted.samples_per_epoch == 21


def test_class_images_are_used_with_a_weight_only(make: Make) -> None:
    run = make(captioned(6) | {"class/1.png": None})
    assert make_splits(config(), run).class_images == () and warnings(run) == {"class_images_unused"}
    splits = make_splits(config(prior_loss_weight=1.0, class_prompt="a dog"), run)
    assert [(each.name, each.caption) for each in splits.class_images] == [("class/1.png", "a dog")]
    assert splits.samples_per_epoch == 2 * len(splits.train)


def test_prior_preservation_without_class_images_is_refused(make: Make) -> None:
    with pytest.raises(RecipeError, match="needs class images"):
        make_splits(config(prior_loss_weight=1.0), make(captioned(6)))


def test_a_subset_is_drawn_from_the_training_images(make: Make) -> None:
    run = make(captioned(20))
    small, whole = make_splits(config(max_train_samples=5), run), make_splits(config(), run)
    assert len(small.train) == 5 and set(small.train) < set(whole.train)
    assert small.validation == whole.validation and small.train_sha256 != whole.train_sha256


def test_one_image_is_too_few(make: Make) -> None:
    with pytest.raises(RecipeError, match="two different") as error:
        make_splits(config(), make(captioned(1)))
    assert error.value.reason == "DATASET_INVALID" and error.value.remedies


def told(make: Make, files: Mapping[str, str | None], **changes: object) -> set[str]:
    run = make(files)
    settings = config(**changes)
    tell_of_samples(make_splits(settings, run), settings, run)
    return warnings(run)


def test_sound_captions_and_sizes_give_no_warning(make: Make) -> None:
    assert told(make, captioned(6), trigger_words=("Picture",)) == set()


def test_images_that_are_enlarged_are_told(make: Make) -> None:
    assert told(make, captioned(6), resolution=128) == {"images_enlarged"}


def test_missing_captions_and_unused_trigger_words_are_told(make: Make) -> None:
    files = {"train/1.png": "a dog", "train/2.png": None, "val/3.png": "v"}
    assert told(make, files, trigger_words=("sks",)) == {"captions_missing", "trigger_words_unused"}


def test_no_caption_at_all_is_refused_unless_the_job_has_one(make: Make) -> None:
    files = dict.fromkeys(captioned(6))
    with pytest.raises(RecipeError, match="None of the images"):
        told(make, files)
