import pytest
import torch

from tuneyard.vision.batches import Augmenter, SampleOrder, StepPlan
from tuneyard.vision.config import Augmentation
from tuneyard.vision.pixels import Pixels

EVERYTHING = Augmentation(
    crop_min_scale=0.3, horizontal_flip=0.5, randaugment_magnitude=9, mixup_alpha=0.4, cutmix_alpha=1.0
)


@pytest.fixture
def pixels() -> Pixels:
    generator = torch.Generator().manual_seed(3)
    data = torch.randint(0, 256, (12, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return Pixels(data, torch.arange(12), torch.arange(12) % 3)


def augmenter(settings: Augmentation, *, image_size: int = 16, seed: int = 0) -> Augmenter:
    return Augmenter(
        settings,
        image_size=image_size,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=seed,
        device=torch.device("cpu"),
    )


def rendered(of: Augmenter, pixels: Pixels, plan: StepPlan, micro_batch: int) -> torch.Tensor:
    return torch.cat(
        [of.images(pixels, plan, part)[0] for part in torch.arange(len(plan)).split(micro_batch)]
    )


def test_an_epoch_has_each_sample_once_and_the_next_another_order() -> None:
    order = SampleOrder(10, seed=1)
    first = torch.cat([order.take(4), order.take(4), order.take(4)])
    second = torch.cat([order.take(4), order.take(4), order.take(4)])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert order.epoch == 2


@pytest.mark.parametrize("taken", [0, 3, 10, 14])
def test_an_order_goes_on_where_its_state_was_taken(taken: int) -> None:
    order, other = SampleOrder(10, seed=1), SampleOrder(10, seed=9)
    for _ in range(taken):
        order.take(1)
    other.load_state_dict(order.state_dict())
    assert [other.take(3).tolist() for _ in range(9)] == [order.take(3).tolist() for _ in range(9)]


def test_without_augmentation_images_are_only_normalised(pixels: Pixels) -> None:
    of = augmenter(Augmentation())
    plan = of.plan(torch.arange(12))
    images, share = of.images(pixels, plan, torch.arange(12))
    expected = (pixels.images(torch.arange(12)).float() / 255 - 0.5) / 0.25
    assert share == 1.0
    torch.testing.assert_close(images, expected)
    torch.testing.assert_close(images, of.plain(pixels, torch.arange(12)))


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_a_step_is_the_same_however_it_is_cut(pixels: Pixels, micro_batch: int) -> None:
    of = augmenter(EVERYTHING)
    for _ in range(4):
        plan = of.plan(torch.arange(12))
        torch.testing.assert_close(rendered(of, pixels, plan, micro_batch), rendered(of, pixels, plan, 12))


def test_drawing_goes_on_where_its_state_was_taken(pixels: Pixels) -> None:
    of, other = augmenter(EVERYTHING), augmenter(EVERYTHING, seed=5)
    of.plan(torch.arange(12))
    other.load_state_dict(of.state_dict())
    one, two = of.plan(torch.arange(12)), other.plan(torch.arange(12))
    assert torch.equal(rendered(of, pixels, one, 12), rendered(other, pixels, two, 12))


def test_drawing_leaves_the_global_generator_alone(pixels: Pixels) -> None:
    of = augmenter(EVERYTHING)
    before = torch.get_rng_state()
    rendered(of, pixels, of.plan(torch.arange(12)), 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_flips_are_mirror_images_with_and_without_crops(pixels: Pixels) -> None:
    of = augmenter(Augmentation(horizontal_flip=1.0))
    flipped, _ = of.images(pixels, of.plan(torch.arange(12)), torch.arange(12))
    torch.testing.assert_close(flipped.flip(3), of.plain(pixels, torch.arange(12)))
    # A crop of the whole image is the image.
    whole = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).repeat(12, 1)
    plan = StepPlan(torch.arange(12), whole, torch.ones(12, dtype=torch.bool), (), None)
    cropped, _ = of.images(pixels, plan, torch.arange(12))
    torch.testing.assert_close(cropped, flipped, atol=1e-4, rtol=1e-4)


def test_crops_lie_within_the_image_and_keep_the_least_share() -> None:
    plan = augmenter(Augmentation(crop_min_scale=0.5)).plan(torch.arange(500))
    assert plan.crops is not None
    x, y, width, height = plan.crops.unbind(1)
    for centre, side in ((x, width), (y, height)):
        assert ((centre - side / 2 >= -1e-6) & (centre + side / 2 <= 1 + 1e-6)).all()
    assert (width * height).min() > 0.4


def test_cutmix_takes_the_share_of_its_patch(pixels: Pixels) -> None:
    of = augmenter(Augmentation(cutmix_alpha=1.0))
    plan = of.plan(torch.arange(12))
    images, share = of.images(pixels, plan, torch.arange(12))
    own = of.plain(pixels, torch.arange(12))
    kept = (images == own).all(1).float().mean(dim=(1, 2))
    torch.testing.assert_close(kept, torch.full((12,), share), atol=1e-2, rtol=0)


def test_images_come_back_as_bytes(pixels: Pixels) -> None:
    of = augmenter(Augmentation())
    assert torch.equal(of.as_bytes(of.plain(pixels, torch.arange(3))), pixels.images(torch.arange(3)))
