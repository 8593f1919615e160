import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.defects_images import encoded, picture
from tuneyard.datasets import check
from tuneyard.diffusion.catalogue import base_models, find
from tuneyard.diffusion.clip_files import ClipFacts
from tuneyard.diffusion.estimate import estimate
from tuneyard.diffusion.known_facts import SD_1_5, SDXL
from tuneyard.gateway.reports import to_message
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.v1 import (
    dataset_pb2,
    errors_pb2,
    job_pb2,
    model_service_pb2,
    system_pb2,
    trainer_service_pb2,
    training_pb2,
)

CPU = system_pb2.Device(id="cpu", memory_total_bytes=64 << 30)


def gpu(gib: int) -> system_pb2.Device:
    return system_pb2.Device(id="cuda:0", memory_total_bytes=gib << 30)


def spec(base: str = "stable-diffusion-v1-5", **changes: Any) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/d", base_model=base)
    message.text_to_image_lora.SetInParent()
    for path, value in changes.items():
        target: Any = message
        *parents, name = path.split("__")
        for parent in parents:
            target = getattr(target, parent)
        if isinstance(value, list):
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return message


def source(samples: int = 40, class_images: int = 0, **splits: int) -> trainer_service_pb2.DatasetSource:
    report = dataset_pb2.ValidationReport()
    for split, count in {"train": samples, **splits}.items():
        seen = {"instance": count} | ({"class": class_images} if class_images and split == "train" else {})
        report.splits.add(split=split, samples=count, samples_per_class=seen)
    return trainer_service_pb2.DatasetSource(
        name="datasets/d",
        format=dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES,
        report=report,
        size_bytes=10**6 * samples,
    )


def answer(
    given: training_pb2.TrainingSpec,
    *devices: system_pb2.Device,
    dataset: trainer_service_pb2.DatasetSource | None = None,
    model: trainer_service_pb2.ModelSource | None = None,
    clip_model: trainer_service_pb2.ModelSource | None = None,
    **rest: Any,
) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(training=given), dataset=dataset, model=model, clip_model=clip_model
    )
    return estimate(request, devices or (gpu(24),), **rest)


def fields(found: Any) -> list[str]:
    return [violation.field.removeprefix("spec.") for violation in found]


def test_unset_fields_are_recommended_and_the_revision_is_pinned() -> None:
    found = answer(spec(), dataset=source()).estimate
    resolved = found.resolved_spec.training
    assert not found.violations and not found.warnings and found.fits
    assert resolved.base_model_revision == find("stable-diffusion-v1-5").revision  # type: ignore[union-attr]
    assert (found.train_samples, found.validation_samples, found.total_steps) == (34, 6, 90)


@pytest.mark.parametrize(
    ("base", "gib", "side", "fits"),
    [
        ("stable-diffusion-v1-5", 8, 512, True),
        ("stable-diffusion-v1-5", 8, 768, True),
        ("stable-diffusion-v1-5", 12, 1024, True),
        ("stable-diffusion-xl", 12, 1024, True),
        ("stable-diffusion-xl", 8, 1024, False),
        ("stable-diffusion-xl", 24, 1024, True),
    ],
)
def test_the_guide_s_cards_of_8_and_12_gb_hold(base: str, gib: int, side: int, fits: bool) -> None:
    given = spec(base, text_to_image_lora__resolution=side)
    assert answer(given, gpu(gib)).estimate.fits is fits


def test_a_recommended_batch_that_does_not_fit_keeps_the_effective_batch_and_says_so() -> None:
    given = spec("stable-diffusion-v1-5", text_to_image_lora__resolution=1024)
    found = answer(given, gpu(10)).estimate
    resolved = found.resolved_spec.training
    assert (found.effective_batch_size, found.fits) == (4, True)
    assert resolved.hyperparameters.batch_size == 1
    assert "effective batch stays 4" in found.warnings[0].description
    assert answer(resolved, gpu(10)).estimate.resolved_spec.training == resolved


@pytest.mark.parametrize("gib", [6, 8, 12, 16])
@pytest.mark.parametrize("base", ["stable-diffusion-v1-5", "stable-diffusion-xl"])
def test_every_alternative_is_accepted_when_it_is_asked_for(base: str, gib: int) -> None:
    given = spec(base, hyperparameters__batch_size=16, text_to_image_lora__gradient_checkpointing=False)
    found = answer(given, gpu(gib))
    assert found.reason == errors_pb2.ERROR_REASON_DOES_NOT_FIT
    for alternative in found.estimate.alternatives:
        changed = training_pb2.TrainingSpec()
        changed.CopyFrom(given)
        for path, value in alternative.changes.items():
            *parents, name = path.split(".")
            target: Any = changed
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, name, json.loads(value))
        assert answer(changed, gpu(gib)).estimate.fits, alternative.description


def test_an_imported_pipeline_is_weighed_by_its_own_facts() -> None:
    model = trainer_service_pb2.ModelSource(facts=SDXL.to_json())
    own, known = (
        answer(spec("models/mine"), model=model).estimate.memory,
        answer(spec("stable-diffusion-xl")).estimate.memory,
    )
    assert own == known


@pytest.mark.parametrize(
    ("base", "reason", "told"),
    [
        ("models/x", errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, "tuneyard models import"),
        ("some/repo", errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE, "models import some/repo"),
        ("stable-difusion", errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, "stable-diffusion-xl"),
    ],
)
def test_an_unknown_base_is_refused_with_what_to_import(base: str, reason: int, told: str) -> None:
    found = answer(spec(base))
    assert found.reason == reason
    assert told in found.estimate.violations[0].description


def test_offline_a_known_base_is_refused_with_what_to_import(tmp_path: Path) -> None:
    found = answer(spec(), places=HubPlaces(tmp_path, offline=True))
    assert found.reason == errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
    assert "models import stable-diffusion-v1-5" in found.estimate.violations[0].description


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text_to_image_lora__resolution": 500}, "text_to_image_lora.resolution"),
        (
            {"text_to_image_lora__text_encoder_learning_rate": 1e-5},
            "text_to_image_lora.text_encoder_learning_rate",
        ),
        (
            {"text_to_image_lora__lora__target_modules": ["q_proj"]},
            "text_to_image_lora.lora.target_modules",
        ),
        ({"text_to_image_lora__prior_loss_weight": 1}, "text_to_image_lora.prior_loss_weight"),
        ({"early_stopping__metric": "eval/clip"}, "early_stopping.metric"),
        ({"base_model_revision": "main"}, "base_model_revision"),
        ({"resources__device_count": 2}, "resources.device_count"),
        ({"hyperparameters__momentum": 0.5}, "hyperparameters.momentum"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    found = answer(spec(**changes), dataset=source())
    assert (fields(found.estimate.violations), found.reason) == (
        [field],
        errors_pb2.ERROR_REASON_INVALID_FIELD,
    )


def test_flow_matching_has_no_snr_and_no_other_prediction() -> None:
    given = spec("stable-diffusion-3-medium", text_to_image_lora__min_snr_gamma=5)
    assert "text_to_image_lora.min_snr_gamma" in fields(answer(given).estimate.violations)


def test_fp16_needs_an_accelerator_and_the_processor_says_so() -> None:
    given = spec(hyperparameters__precision=training_pb2.PRECISION_FP16)
    assert fields(answer(given, CPU).estimate.violations) == ["hyperparameters.precision"]


CLIP = trainer_service_pb2.ModelSource(
    name="models/clip", facts=ClipFacts(parameters=4 * 10**9, stored_bytes=8 * 10**9).to_json()
)


def test_a_clip_model_counts_where_pictures_are_scored() -> None:
    given = spec(text_to_image_lora__clip_model="models/clip")
    plain, scored = answer(spec()).estimate, answer(given, clip_model=CLIP).estimate
    assert scored.memory.device_bytes > plain.memory.device_bytes
    assert scored.disk_bytes == plain.disk_bytes + 8 * 10**9
    assert not scored.violations and scored.fits


def test_what_scores_pictures_must_be_a_clip_model() -> None:
    given = spec(text_to_image_lora__clip_model="models/base")
    other = trainer_service_pb2.ModelSource(name="models/base", facts=SD_1_5.to_json())
    found = answer(given, clip_model=other)
    assert fields(found.estimate.violations) == ["text_to_image_lora.clip_model"]


def test_a_class_prompt_turns_prior_preservation_on() -> None:
    dataset = source(class_images=50)
    given = spec(text_to_image_lora__class_prompt="a dog")
    found = answer(given, dataset=dataset).estimate
    assert found.resolved_spec.training.text_to_image_lora.prior_loss_weight == 1
    given.text_to_image_lora.prior_loss_weight = 0
    off = answer(given, dataset=dataset).estimate
    assert off.total_steps < found.total_steps
    assert "text_to_image_lora.class_prompt" in fields(off.warnings)


def test_class_images_double_an_epoch_only_where_they_are_used() -> None:
    with_prior = spec(text_to_image_lora__prior_loss_weight=1)
    dataset = source(class_images=50)
    assert answer(with_prior, dataset=dataset).estimate.total_steps == 170
    unused = answer(spec(), dataset=dataset).estimate
    assert fields(unused.warnings) == ["text_to_image_lora.prior_loss_weight"]


def test_prompts_that_are_not_drawn_are_told() -> None:
    for count, expected in ((4, []), (5, ["text_to_image_lora.validation_prompts"])):
        found = answer(spec(text_to_image_lora__validation_prompts=["a cat"] * count)).estimate
        assert fields(found.warnings) == expected


def test_repeats_and_class_images_are_those_of_the_report(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / ("10_sks dog" if number < 8 else "reg/1_dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number)))
    dataset = source()
    dataset.report.CopyFrom(to_message(check(tmp_path, format="captioned-images")))
    # Of eight images one is held out.
    given = spec(hyperparameters__epochs=2, text_to_image_lora__prior_loss_weight=1)
    found = answer(given, dataset=dataset)
    assert not found.estimate.violations and found.estimate.train_samples == 7
    assert found.estimate.total_steps == 2 * 2 * 7 * 10 / found.estimate.effective_batch_size
    without = answer(spec(hyperparameters__epochs=2), dataset=dataset).estimate
    assert without.total_steps == 2 * -(-7 * 10 // without.effective_batch_size)


def test_a_dataset_of_another_family_is_refused() -> None:
    dataset = source()
    dataset.format = dataset_pb2.DATASET_FORMAT_JSONL
    assert "captioned-images" in answer(spec(), dataset=dataset).estimate.violations[0].description


def test_time_is_predicted_on_the_processor_and_learned_for_accelerators(tmp_path: Path) -> None:
    assert answer(spec(), CPU, dataset=source()).estimate.duration.seconds > 60
    assert not answer(spec(), dataset=source()).estimate.HasField("duration")
    speeds = tmp_path / "speeds.json"
    speeds.write_text(json.dumps({f"accelerator/text_to_image_lora/sd/{training_pb2.PRECISION_AUTO}": 0.01}))
    assert answer(spec(), dataset=source(), speeds=speeds).estimate.HasField("duration")


def test_small_networks_take_the_time_of_their_calls() -> None:
    small = trainer_service_pb2.ModelSource(facts=replace(SD_1_5, position_operations=1000).to_json())
    asked = spec("models/small", hyperparameters__max_steps=600)
    found = answer(asked, CPU, dataset=source(), model=small).estimate
    passes = 600 * found.effective_batch_size * 2 / found.resolved_spec.training.hyperparameters.batch_size
    assert passes * 0.01 < found.duration.seconds < passes * 0.05


def test_the_catalogue_says_what_each_model_wants() -> None:
    found = {model.id: model for model in base_models()}
    assert found["stable-diffusion-v1-5"].is_recommended
    minimum = {name: model.minimum_memory_bytes >> 30 for name, model in found.items()}
    assert (
        minimum["stable-diffusion-v1-5"],
        found["stable-diffusion-v1-5"].recommended_memory_bytes >> 30,
    ) == (
        8,
        12,
    )
    assert minimum["stable-diffusion-xl"] <= 12
    assert found["stable-diffusion-xl"].availability == model_service_pb2.AVAILABILITY_FETCHABLE


def derived(**spec_of: Any) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(**spec_of),
        source_spec=job_pb2.JobSpec(training=spec()),
        dataset=source(),
        model=trainer_service_pb2.ModelSource(facts=SD_1_5.to_json()),
    )
    return estimate(request, [CPU])


def test_weights_are_exported_for_diffusers_and_for_kohya_s_scripts_only() -> None:
    kohya = job_pb2.ExportSpec(source_job="jobs/1", format=job_pb2.EXPORT_FORMAT_KOHYA)
    onnx = job_pb2.ExportSpec(source_job="jobs/1", format=job_pb2.EXPORT_FORMAT_ONNX)
    assert derived(export=kohya).estimate.fits
    refused = derived(export=onnx)
    assert refused.reason == errors_pb2.ERROR_REASON_NOT_SUPPORTED
    assert "kohya" in refused.estimate.violations[0].description


def test_an_evaluation_measures_what_the_training_held_out_unless_told_otherwise() -> None:
    found = derived(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1")).estimate.resolved_spec.evaluate
    assert (found.dataset, found.split, found.compare_with_base) == ("datasets/d", "val", True)


def test_a_merge_needs_room_for_the_base_and_its_copy() -> None:
    found = derived(merge=job_pb2.MergeSpec(source_job="jobs/1")).estimate
    assert found.artifact_bytes == 4 * SD_1_5.parameters
    assert found.disk_bytes == 2 * found.artifact_bytes


def test_estimating_imports_no_torch() -> None:
    code = "import sys, tuneyard.diffusion.estimate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
