"""Sizes that images are trained at, which image goes where, and how a step is cut into micro-batches."""

import pytest

from tuneyard.diffusion.buckets import Bucket, bucket_of, cut_share, make_buckets, micro_batches


@pytest.mark.parametrize("resolution", [512, 768, 1024])
def test_buckets_keep_about_the_squares_area_and_never_exceed_it(resolution: int) -> None:
    buckets = make_buckets(resolution)
    areas = [bucket.width * bucket.height / resolution**2 for bucket in buckets]
    assert max(areas) == 1 and min(areas) > 0.8
    assert all(side % 64 == 0 for bucket in buckets for side in (bucket.width, bucket.height))


def test_buckets_come_in_pairs_from_tall_to_wide() -> None:
    buckets = make_buckets(512)
    assert {Bucket(bucket.height, bucket.width) for bucket in buckets} == set(buckets)
    ratios = [bucket.aspect_ratio for bucket in buckets]
    assert ratios == sorted(ratios) and (ratios[0], ratios[-1]) == (0.25, 4.0)


def test_a_small_resolution_has_buckets_of_a_smaller_step() -> None:
    assert make_buckets(64) == (Bucket(64, 64),)
    assert Bucket(40, 24) in make_buckets(32, step=8)
    with pytest.raises(ValueError, match="at least 64"):
        make_buckets(32)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((512, 512), Bucket(512, 512)),
        ((2000, 2000), Bucket(512, 512)),
        ((4000, 3000), Bucket(576, 448)),
        ((3000, 4000), Bucket(448, 576)),
        ((9000, 1000), Bucket(1024, 256)),
    ],
)
def test_an_image_goes_to_the_nearest_aspect_ratio(size: tuple[int, int], bucket: Bucket) -> None:
    assert bucket_of(size, make_buckets(512)) == bucket


def test_little_of_an_image_is_cut_off_by_its_bucket() -> None:
    buckets = make_buckets(512)
    sizes = [(width, 1000) for width in range(300, 3300, 50)]
    assert max(cut_share(size, bucket_of(size, buckets)) for size in sizes) < 0.2
    assert cut_share((200, 100), Bucket(512, 512)) == 0.5


def test_micro_batches_hold_one_bucket_and_every_sample_once() -> None:
    batches = micro_batches(["wide", "tall", "wide", "wide", "tall"], size=2)
    assert batches == [[0, 2], [3], [1, 4]]
