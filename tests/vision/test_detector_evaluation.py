from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ultralytics.engine.validator import BaseValidator

from tuneyard.vision.detector_batches import DetectionSamples, Draw, collate, engine_settings
from tuneyard.vision.detector_evaluation import DetectionEvaluator, hits
from tuneyard.vision.detector_loss import DetectorLoss
from tuneyard.vision.detector_model import build
from tuneyard.vision.detector_offline import box_iou
from tuneyard.vision.detector_pixels import scaled_images
from tuneyard.vision.detector_splits import make_splits


def random_boxes(generator: torch.Generator, count: int) -> torch.Tensor:
    corners = torch.rand(count, 2, generator=generator) * 30
    return torch.cat([corners, corners + 5 + torch.rand(count, 2, generator=generator) * 20], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_matched_as_ultralytics_matches_them(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    true, labels = random_boxes(generator, 12), torch.randint(3, (12,), generator=generator).float()
    near = true[torch.randint(12, (40,), generator=generator)] + torch.randn(40, 4, generator=generator)
    classes = torch.randint(3, (40,), generator=generator).float()
    found = torch.cat([near, torch.rand(40, 1, generator=generator), classes[:, None]], dim=1)
    reference = BaseValidator.match_predictions(
        SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10)), classes, labels, box_iou(true, near)
    )
    assert np.array_equal(hits(found, true, labels), reference.numpy())


def test_nothing_found_and_nothing_there_are_no_errors() -> None:
    none, some = torch.zeros(0, 6), torch.tensor([[0.0, 0, 5, 5, 0.9, 1]])
    assert hits(none, some[:, :4], torch.ones(1)).shape == (0, 10)
    assert not hits(some, torch.zeros(0, 4), torch.zeros(0)).any()
    assert hits(some, some[:, :4], torch.ones(1)).all()


@pytest.fixture
def evaluator(shapes, configure_detector, start):
    config = configure_detector()
    files = shapes()
    splits = make_splits(files, None, config)
    settings = engine_settings(config, epochs=2)
    samples = DetectionSamples(
        splits.validation.samples,
        scaled_images(splits.validation, image_size=64, workers=1, run=start(files)),
        classes=splits.classes,
        settings=settings,
        augment=False,
        rectangular_batch=3,
    )
    model = build("yolov8n", splits.classes)
    loss = DetectorLoss(model, settings, weights=None, precision="fp32", device=torch.device("cpu"))
    return samples, model, loss


def test_an_untrained_model_finds_nothing_and_its_losses_are_told(evaluator) -> None:
    samples, model, loss = evaluator
    judge = DetectionEvaluator(samples, loss, classes=["circle", "square", "triangle"], batch_size=3)
    found = judge.evaluate(model, should_stop=lambda: False)
    assert found is not None and found.map50 < 0.1
    assert found.loss == pytest.approx(found.box_loss + found.cls_loss + found.dfl_loss)
    assert sum(score.boxes for score in found.classes.values()) == sum(
        len(sample.boxes) for sample in samples.samples
    )
    assert found.confusion.shape == (4, 4)
    assert found.confusion[3].sum() == sum(len(sample.boxes) for sample in samples.samples)


def test_a_stop_ends_an_evaluation(evaluator) -> None:
    samples, model, loss = evaluator
    judge = DetectionEvaluator(samples, loss, classes=["a", "b", "c"], batch_size=3)
    assert judge.evaluate(model, should_stop=lambda: True) is None


def test_decoding_apart_from_the_network_is_what_the_network_would_decode(evaluator) -> None:
    samples, model, loss = evaluator
    model.eval()
    images = loss.images(collate([samples[Draw(0, number, False)] for number in range(2)]))
    with torch.inference_mode():
        assert torch.equal(loss.decoded(model, loss.raw(model, images)), model(images)[0])
