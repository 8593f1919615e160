import pytest

from tuneyard.diffusion.catalogue import KNOWN, find
from tuneyard.diffusion.known_facts import SD_1_5, SDXL
from tuneyard.diffusion.recommended import resolve
from tuneyard.v1 import training_pb2


def spec(**task: object) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/d", base_model="stable-diffusion-v1-5")
    message.text_to_image_lora.CopyFrom(training_pb2.TextToImageLora(**task))  # type: ignore[arg-type]
    return message


def test_each_kind_is_trained_at_the_size_that_it_draws() -> None:
    assert resolve(spec(), SD_1_5).text_to_image_lora.resolution == 512
    assert resolve(spec(), SDXL).text_to_image_lora.resolution == 1024
    assert resolve(spec(resolution=768), SDXL).text_to_image_lora.resolution == 768


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.id)
def test_a_resolved_spec_resolves_to_itself_without_facts(known) -> None:
    once = resolve(spec(), known.facts)
    assert resolve(once) == once


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.id)
def test_every_kind_has_an_effective_batch_of_4(known) -> None:
    hyper = resolve(spec(), known.facts).hyperparameters
    assert hyper.batch_size * hyper.gradient_accumulation_steps == 4


def test_a_given_batch_keeps_the_effective_batch_near() -> None:
    given = spec()
    given.hyperparameters.batch_size = 4
    assert resolve(given, SDXL).hyperparameters.gradient_accumulation_steps == 1


def test_an_unset_alpha_is_twice_the_rank_and_commas_part_names() -> None:
    given = spec(lora=training_pb2.LoraConfig(lora_r=8, target_modules=["to_q, to_k"]))
    lora = resolve(given, SD_1_5).text_to_image_lora.lora
    assert (lora.lora_alpha, list(lora.target_modules)) == (16, ["to_q", "to_k"])


def test_much_used_names_of_models_are_known_too() -> None:
    assert find("runwayml/stable-diffusion-v1-5") is find("stable-diffusion-v1-5")
    assert find("sdxl") is find("stabilityai/stable-diffusion-xl-base-1.0")
    assert find("stable-diffusion-9") is None
