import importlib.util

import pytest

from tuneyard.trainer.errors import RecipeError
from tuneyard.v1 import trainer_service_pb2
from tuneyard.vision import entry


def test_everything_that_is_preloaded_exists() -> None:
    assert all(importlib.util.find_spec(name) for name in entry.PRELOAD)


def test_a_request_is_trained(draw, start) -> None:
    request = trainer_service_pb2.StartRunRequest()
    spec = request.spec.training
    spec.base_model = "squeezenet1_1"
    spec.hyperparameters.max_steps = 2
    spec.image_classifier.pretrained = False
    spec.image_classifier.image_size = 32
    result = entry.execute(request, start(draw()))
    assert result.step == 2


def test_other_tasks_are_not_supported(draw, start) -> None:
    request = trainer_service_pb2.StartRunRequest()
    request.spec.training.language_model.SetInParent()
    with pytest.raises(RecipeError, match="language_model") as failed:
        entry.execute(request, start(draw()))
    assert failed.value.reason == "NOT_SUPPORTED"
