import json

import pytest

from tuneyard.vision.classifier import train
from tuneyard.vision.config import Augmentation
from tuneyard.vision.predictor import Classifier


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "mobilenet_v3_small"])
def test_a_stored_model_predicts_what_was_evaluated(draw, configure, start, architecture) -> None:
    run = start(draw(side=40))
    augmentation = Augmentation(crop_min_scale=0.8)
    config = configure(architecture=architecture, ema_decay=0.5, augmentation=augmentation, epochs=4)
    result = train(config, run)
    model = Classifier.load(run.artifacts["model.safetensors"].path.parent)
    files = sorted((run.training_files.dir / "val").rglob("*.png"))
    predicted = model.classify(files)
    right = sum(p.label == path.parent.name for p, path in zip(predicted, files, strict=True))
    assert right / len(files) == pytest.approx(result.metrics["eval/accuracy_top1"])
    assert model.classify([files[0].read_bytes()], top=2)[0].ranking == predicted[0].ranking[:2]


def test_the_stored_config_says_how_images_are_prepared(draw, configure, start) -> None:
    run = start(draw(side=40))
    train(configure(max_steps=1, augmentation=Augmentation(crop_min_scale=0.5)), run)
    config = json.loads(run.artifacts["config.json"].path.read_text())
    assert config["architecture"] == "squeezenet1_1"
    assert config["classes"] == ["class_0", "class_1", "class_2"]
    assert config["preprocessing"]["resize_shorter_side"] == 36
    assert config["preprocessing"]["center_crop"] == 32
