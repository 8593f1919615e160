from tuneyard.v1 import trainer_service_pb2, training_pb2
from tuneyard.vision.architectures import architectures
from tuneyard.vision.catalogue import base_models
from tuneyard.vision.config import classifier_config


def test_resnet50_is_recommended_and_comes_first() -> None:
    models = base_models()
    assert [model.id for model in models if model.is_recommended] == ["resnet50"] == [models[0].id]
    assert {model.id for model in models} == set(architectures())


def test_every_entry_says_what_it_is_and_needs() -> None:
    for model in base_models():
        assert model.family == training_pb2.FAMILY_VISION
        assert 0 < model.minimum_memory_bytes <= model.recommended_memory_bytes
        assert model.parameter_count and model.description and model.license and model.revision


def test_recommended_settings_are_a_config_of_their_own() -> None:
    for model in base_models():
        request = trainer_service_pb2.StartRunRequest()
        request.spec.training.CopyFrom(model.recommended)
        config = classifier_config(request)
        assert (config.architecture, config.epochs, config.batch_size) == (model.id, 15, 16)
