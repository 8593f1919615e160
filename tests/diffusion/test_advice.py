import pytest

from tuneyard.datasets import Report
from tuneyard.diffusion import entry
from tuneyard.diffusion.advice import (
    out_of_memory,
    out_of_memory_remedies,
    too_large,
    training_subject,
    usual_learning_rate,
)
from tuneyard.diffusion.config import Lora
from tuneyard.v1 import trainer_service_pb2


def test_advice_on_overfitting_names_the_settings_in_force(configure) -> None:
    subject = training_subject(configure(patience=5), Report("captioned-images"))
    told = " ".join(subject.overfitting_remedies)
    assert "patience of 5" in told and "lora_r below 4" in told and "horizontal_flip" in told
    assert "early_stopping.patience" not in subject.overfitting_changes


def test_what_is_done_already_is_not_advised(configure) -> None:
    config = configure(
        horizontal_flip=0.5,
        prior_loss_weight=1.0,
        max_grad_norm=1.0,
        min_snr_gamma=5.0,
        lora=Lora(dropout=0.2),
    )
    subject = training_subject(config, Report("captioned-images"))
    told = " ".join((*subject.overfitting_remedies, *subject.diverging_remedies))
    assert not any(word in told for word in ("horizontal_flip", "class images", "Clip", "min_snr_gamma"))
    assert "text_to_image_lora.lora.lora_dropout" not in subject.overfitting_changes


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", 1e-4), ("adamw_8bit", 1e-4), ("sgd", 1e-2)])
def test_the_usual_rate_is_the_optimizers(configure, optimizer, expected) -> None:
    assert usual_learning_rate(configure(optimizer=optimizer)) == pytest.approx(expected)


def test_a_smaller_resolution_is_named_where_there_is_one(configure) -> None:
    told = out_of_memory(configure(resolution=1024)).remedies
    assert any("it is 1024 px; try 768" in remedy for remedy in told)
    assert not any("resolution" in remedy for remedy in out_of_memory_remedies(configure(resolution=256)))


def test_trained_text_encoders_and_a_missing_cache_are_remedies(configure) -> None:
    told = " ".join(out_of_memory_remedies(configure(train_text_encoder=True, cache_latents=False)))
    assert "train_text_encoder" in told and "cache_latents" in told


def test_the_family_tells_its_remedies_wherever_memory_runs_out() -> None:
    request = trainer_service_pb2.StartRunRequest()
    request.spec.training.text_to_image_lora.resolution = 1024
    assert any("it is 1024 px" in remedy for remedy in entry.out_of_memory_remedies(request))
    request.spec.evaluate.source_job = "jobs/1"
    assert "again" in entry.out_of_memory_remedies(request)[0]


def test_a_base_that_is_too_large_asks_for_less_state(configure) -> None:
    assert "adamw_8bit" in " ".join(too_large(configure()).remedies)
    assert "adamw_8bit" not in " ".join(too_large(configure(optimizer="adamw_8bit")).remedies)
