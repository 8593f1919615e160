import contextlib
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tuneyard.vision.detector_batches import DetectionSamples, Draw, SampleOrder, StepSamples, engine_settings
from tuneyard.vision.detector_evaluation import true_boxes
from tuneyard.vision.detector_pixels import scaled_images
from tuneyard.vision.detector_splits import make_splits


@pytest.fixture
def prepared(shapes, configure_detector, start):
    def made(*, augment: bool = True, **changes) -> DetectionSamples:
        files, config = shapes(), configure_detector(**changes)
        splits = make_splits(files, None, config)
        images = scaled_images(splits.train, image_size=config.image_size, workers=1, run=start(files))
        return DetectionSamples(
            splits.train.samples,
            images,
            classes=splits.classes,
            settings=engine_settings(config, epochs=2),
            augment=augment,
            rectangular_batch=0,
            seed=3,
        )

    return made


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in ("img", "cls", "bboxes"))


def shared_descriptors() -> list[Path]:
    """Those of this process that hold memory of tensors which other processes passed on."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(link.readlink())
    return [path for path in found if path.name.startswith("torch_")]


def test_an_image_is_augmented_the_same_whatever_was_drawn_before(prepared) -> None:
    samples = prepared()
    first = samples[Draw(1, 5, True)]
    random.seed(99)
    np.random.seed(99)
    samples[Draw(0, 2, True)]
    assert same(samples[Draw(1, 5, True)], first)
    assert not same(samples[Draw(2, 5, True)], first)
    assert not same(samples[Draw(1, 4, True)], first)


def test_without_augmentation_an_image_is_as_it_is(prepared) -> None:
    samples = prepared(augment=False)
    shown = samples[Draw(0, 0, False)]
    sample = samples.samples[0]
    assert shown["img"].shape == (3, 64, 64)
    corners, labels = true_boxes(shown)
    assert labels.tolist() == [box.label for box in sample.boxes]
    box = sample.boxes[0]
    assert corners[0, 0].item() == pytest.approx((box.x - box.width / 2) * 64, abs=1e-3)
    assert corners[0, 3].item() == pytest.approx((box.y + box.height / 2) * 64, abs=1e-3)


def test_processes_prepare_what_this_one_would(prepared) -> None:
    samples = prepared()
    order = SampleOrder(len(samples), step_size=5, seed=1, rectangular=False)

    def steps(workers: int) -> StepSamples:
        return StepSamples(samples, order, first_step=1, total_steps=4, close_mosaic_steps=1, workers=workers)

    here, there = steps(0), steps(2)
    for _ in range(3):
        for a, b in zip(next(here), next(there), strict=True):
            assert same(a, b)


def test_a_step_that_processes_prepared_takes_few_file_descriptors(prepared) -> None:
    samples = prepared()
    order = SampleOrder(len(samples), step_size=len(samples), seed=1, rectangular=False)
    steps = StepSamples(samples, order, first_step=0, total_steps=2, close_mosaic_steps=0, workers=1)
    step = next(steps)
    assert len(step) == len(samples) > 10
    assert len(shared_descriptors()) < 10


def test_a_step_that_shared_memory_has_no_room_for_is_told_and_not_waited_for(
    prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    samples = prepared()
    order = SampleOrder(len(samples), step_size=5, seed=1, rectangular=False)
    steps = StepSamples(samples, order, first_step=0, total_steps=4, close_mosaic_steps=0, workers=1)
    with pytest.raises(RuntimeError, match="unable to allocate shared memory"):
        next(steps)


def test_each_epoch_takes_every_image_once_in_an_order_of_its_own() -> None:
    order = SampleOrder(11, step_size=4, seed=1, rectangular=False)
    epochs = [[order.positions(step) for step in range(start, start + 3)] for start in (0, 3)]
    assert [[len(step) for step in epoch] for epoch in epochs] == [[4, 4, 3]] * 2
    assert all(sorted(itertools.chain(*epoch)) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert SampleOrder(11, step_size=4, seed=1, rectangular=False).positions(4) == epochs[1][1]


def test_rectangular_steps_keep_neighbours_together() -> None:
    order = SampleOrder(10, step_size=4, seed=2, rectangular=True)
    steps = [order.positions(step) for step in range(3)]
    assert sorted(steps) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
