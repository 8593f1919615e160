import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneyard.llm.catalogue import find
from tuneyard.llm.estimate import estimate
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2

CPU = system_pb2.Device(id="cpu", memory_total_bytes=64 << 30)
LORA, QLORA, FULL = "FINE_TUNING_METHOD_LORA", "FINE_TUNING_METHOD_QLORA", "FINE_TUNING_METHOD_FULL"


def gpu(gib: int) -> system_pb2.Device:
    return system_pb2.Device(id="cuda:0", memory_total_bytes=gib << 30)


def spec(method: str = "FINE_TUNING_METHOD_UNSPECIFIED", **changes: Any) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/d", base_model="llama-2-7b")
    message.language_model.method = training_pb2.FineTuningMethod.Value(method)
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


def source(samples: int = 1000, **splits: int) -> trainer_service_pb2.DatasetSource:
    report = dataset_pb2.ValidationReport()
    for split, count in {"train": samples, **splits}.items():
        report.splits.add(split=split, samples=count)
    return trainer_service_pb2.DatasetSource(
        name="datasets/d",
        format=dataset_pb2.DATASET_FORMAT_JSONL,
        report=report,
        size_bytes=800 * samples,
    )


def answer(
    given: training_pb2.TrainingSpec,
    *devices: system_pb2.Device,
    dataset: trainer_service_pb2.DatasetSource | None = None,
    model: trainer_service_pb2.ModelSource | None = None,
    **rest: Any,
) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(training=given), dataset=dataset, model=model
    )
    return estimate(request, devices or (gpu(80),), **rest)


def fields(found: Any) -> list[str]:
    return [violation.field.removeprefix("spec.") for violation in found]


def test_unset_fields_get_what_the_guide_recommends_for_7b() -> None:
    found = answer(spec(), dataset=source()).estimate
    hyper = found.resolved_spec.training.hyperparameters
    assert (hyper.batch_size, hyper.gradient_accumulation_steps, hyper.learning_rate) == (4, 4, 2e-4)
    assert not found.violations and not found.warnings and found.fits
    assert found.resolved_spec.training.base_model_revision == find("llama-2-7b").revision  # type: ignore[union-attr]
    assert (found.train_samples, found.validation_samples, found.total_steps) == (850, 150, 162)


@pytest.mark.parametrize(
    ("method", "gib", "fits"),
    [(LORA, 16, True), (LORA, 24, True), (LORA, 12, False), (QLORA, 8, True), (QLORA, 12, True)],
)
def test_the_guide_s_cards_for_7b_hold(method: str, gib: int, fits: bool) -> None:
    assert answer(spec(method), gpu(gib)).estimate.fits is fits


def test_a_recommended_batch_that_does_not_fit_keeps_the_effective_batch_and_says_so() -> None:
    found = answer(spec(), gpu(16)).estimate
    resolved = found.resolved_spec.training
    assert found.effective_batch_size == 16
    assert resolved.hyperparameters.batch_size < 4 and resolved.language_model.gradient_checkpointing
    assert "effective batch stays 16" in found.warnings[0].description
    again = answer(resolved, gpu(16)).estimate
    assert again.resolved_spec.training == resolved


def test_a_given_batch_that_does_not_fit_is_refused_with_what_would_fit_in_the_guide_s_order() -> None:
    found = answer(spec(hyperparameters__batch_size=4), gpu(24))
    assert found.reason == errors_pb2.ERROR_REASON_DOES_NOT_FIT
    assert fields(found.estimate.violations) == ["hyperparameters.batch_size"]
    offers = [alternative.description for alternative in found.estimate.alternatives]
    assert offers[:2] == ["batch 2 x accumulation 8", "gradient checkpointing"]
    assert "at most 512 tokens" not in offers[:2]


@pytest.mark.parametrize("gib", [6, 8, 12, 16, 24, 48])
@pytest.mark.parametrize("base", ["llama-2-7b", "llama-2-13b"])
def test_every_alternative_is_accepted_when_it_is_asked_for(base: str, gib: int) -> None:
    given = spec(FULL, base_model=base)
    for alternative in answer(given, gpu(gib)).estimate.alternatives:
        changed = training_pb2.TrainingSpec()
        changed.CopyFrom(given)
        for path, value in alternative.changes.items():
            *parents, name = path.split(".")
            target: Any = changed
            for parent in parents:
                target = getattr(target, parent)
            literal = json.loads(value)
            field = target.DESCRIPTOR.fields_by_name[name].enum_type
            setattr(target, name, field.values_by_name[literal].number if field else literal)
        found = answer(changed, gpu(gib)).estimate
        assert found.fits, alternative.description
        assert found.memory.device_bytes == alternative.memory.device_bytes


@pytest.mark.parametrize(
    ("base", "gib", "advised"),
    [("llama-2-7b", 12, True), ("llama-2-7b", 24, False), ("phi-2", 12, True), ("smollm2-135m", 8, False)],
)
def test_qlora_is_recommended_with_both_figures_where_lora_is_tight(
    base: str, gib: int, advised: bool
) -> None:
    found = answer(spec(base_model=base), gpu(gib)).estimate
    told = [each.description for each in found.warnings if each.field == "spec.language_model.method"]
    assert bool(told) is advised
    assert not told or ("LoRA" in told[0] and told[0].count(" GB") >= 2)


def test_13b_on_a_consumer_card_is_better_trained_with_qlora() -> None:
    told = answer(spec(base_model="llama-2-13b"), gpu(24)).estimate
    assert "language_model.method" in fields(told.warnings)
    assert "QLoRA" in [alternative.description for alternative in told.alternatives]


def test_methods_that_cost_less_are_always_offered() -> None:
    found = answer(spec(FULL), gpu(640)).estimate
    assert [alternative.description for alternative in found.alternatives] == ["LoRA", "QLoRA"]
    sizes = [found.memory.device_bytes, *(each.memory.device_bytes for each in found.alternatives)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters__momentum": 0.5}, "hyperparameters.momentum"),
        ({"hyperparameters__data_loader_workers": 2}, "hyperparameters.data_loader_workers"),
        ({"early_stopping__metric": "loss"}, "early_stopping.metric"),
        ({"resources__device_count": 2}, "resources.device_count"),
        ({"base_model_revision": "main"}, "base_model_revision"),
        ({"language_model__max_length": 5000}, "language_model.max_length"),
        ({"language_model__chat_template": "chat-ml"}, "language_model.chat_template"),
        ({"language_model__lora__target_modules": ["c_attn"]}, "language_model.lora.target_modules"),
    ],
)
def test_what_cannot_be_done_is_a_violation_of_its_field(changes: dict[str, Any], field: str) -> None:
    found = answer(spec(**changes), dataset=source())
    assert field in fields(found.estimate.violations)
    assert found.reason == errors_pb2.ERROR_REASON_INVALID_FIELD


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bnb_4bit_quant_type": training_pb2.QUANT_TYPE_FP4}, "bnb_4bit_quant_type"),
        ({"bnb_4bit_compute_dtype": training_pb2.COMPUTE_DTYPE_FLOAT16}, "bnb_4bit_compute_dtype"),
        ({"use_nested_quant": True}, "use_nested_quant"),
    ],
)
def test_settings_of_4_bits_contradict_8_bits(changes: dict[str, Any], field: str) -> None:
    given = spec(QLORA, language_model__quantization__use_8bit=True)
    for name, value in changes.items():
        setattr(given.language_model.quantization, name, value)
    assert f"language_model.quantization.{field}" in fields(answer(given).estimate.violations)


def test_dora_contradicts_8_bits() -> None:
    given = spec(QLORA, language_model__quantization__use_8bit=True, language_model__lora__use_dora=True)
    assert "language_model.lora.use_dora" in fields(answer(given).estimate.violations)


def test_fp16_needs_an_accelerator() -> None:
    given = spec(base_model="smollm2-135m", hyperparameters__precision=training_pb2.PRECISION_FP16)
    assert "hyperparameters.precision" in fields(answer(given, CPU).estimate.violations)
    assert not answer(given, gpu(16)).estimate.violations


@pytest.mark.parametrize("method", [QLORA, FULL])
def test_what_needs_bitsandbytes_is_refused_without_it(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    given = spec(method, hyperparameters__optimizer=training_pb2.OPTIMIZER_ADAMW_8BIT)
    told = answer(given, gpu(640)).estimate.violations
    assert "hyperparameters.optimizer" in fields(told)
    assert ("language_model.method" in fields(told)) is (method == QLORA)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"language_model__lora__lora_r": 4}, "language_model.lora.lora_r"),
        ({"language_model__lora__lora_alpha": 256.0}, "language_model.lora.lora_alpha"),
        ({"language_model__lora__lora_dropout": 0.3}, "language_model.lora.lora_dropout"),
        ({"hyperparameters__learning_rate": 0.1}, "hyperparameters.learning_rate"),
        ({"hyperparameters__epochs": 30}, "hyperparameters.epochs"),
        ({"data_split__validation_fraction": 0.5}, "data_split.validation_fraction"),
        (
            {"hyperparameters__gradient_accumulation_steps": 900},
            "hyperparameters.gradient_accumulation_steps",
        ),
    ],
)
def test_what_is_unusual_is_a_warning_and_no_violation(changes: dict[str, Any], field: str) -> None:
    found = answer(spec(**changes), gpu(640), dataset=source()).estimate
    assert field in fields(found.warnings)
    assert not found.violations


def test_an_adapter_of_more_than_100_mb_is_a_warning_with_its_size() -> None:
    given = spec(language_model__lora__lora_r=64, language_model__lora__target_modules=["all-linear"])
    found = answer(given, gpu(640)).estimate
    assert "320 MB" in found.warnings[0].description
    assert found.artifact_bytes > 300e6
    assert answer(spec()).estimate.artifact_bytes < 100e6


def test_a_dataset_of_another_family_is_refused() -> None:
    wrong = source()
    wrong.format = dataset_pb2.DATASET_FORMAT_YOLO
    found = answer(spec(), dataset=wrong)
    assert fields(found.estimate.violations) == ["dataset"]
    assert "jsonl" in found.estimate.violations[0].description


def test_a_dataset_that_cannot_be_divided_is_refused() -> None:
    assert "dataset" in fields(answer(spec(), dataset=source(1)).estimate.violations)
    assert "dataset" not in fields(answer(spec(), dataset=source(1, val=1)).estimate.violations)


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("lama-2-7b", errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, "Did you mean llama-2-7b"),
        (
            "someone/some-model",
            errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE,
            "models import someone/some-model",
        ),
        ("models/resnet", errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, "models import FOLDER"),
        ("../../etc", errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, "models list"),
    ],
)
def test_an_unknown_base_model_says_what_to_do(name: str, reason: int, told: str) -> None:
    found = answer(spec(base_model=name))
    assert (found.reason, fields(found.estimate.violations)) == (reason, ["base_model"])
    assert told in found.estimate.violations[0].description


def test_a_model_of_the_store_is_judged_by_its_own_facts() -> None:
    known = find("smollm2-135m")
    assert known
    model = trainer_service_pb2.ModelSource(name="models/mine", facts=known.facts.to_json())
    found = answer(spec(base_model="models/mine"), CPU, model=model).estimate
    assert found.fits and not found.violations
    assert found.memory.host_bytes < 6 << 30
    assert not found.resolved_spec.training.base_model_revision


@pytest.mark.parametrize(
    ("offline", "token", "had"), [(True, True, False), (False, True, True), (False, False, False)]
)
def test_a_gated_model_that_cannot_be_had_names_the_import_command(
    tmp_path: Path, offline: bool, token: bool, had: bool
) -> None:
    found = answer(spec(), places=HubPlaces(tmp_path, offline, token))
    assert (found.reason == errors_pb2.ERROR_REASON_UNSPECIFIED) is had
    if not had:
        assert found.reason == errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
        assert "tuneyard models import llama-2-7b" in found.estimate.violations[0].description


def test_the_server_s_modules_import_no_torch() -> None:
    program = "import tuneyard.llm.estimate, tuneyard.llm.run_times, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def mixing_model() -> trainer_service_pb2.ModelSource:
    facts = replace(find("mistral-7b").facts, model_type="falcon", isolates=False)
    return trainer_service_pb2.ModelSource(facts=facts.to_json())


def test_samples_that_would_see_each_other_are_not_packed_unless_asked_for() -> None:
    found = answer(spec(), model=mixing_model(), dataset=source()).estimate
    assert not found.resolved_spec.training.language_model.packing
    assert "language_model.packing" not in fields(found.warnings)
    asked = answer(spec(language_model__packing=True), model=mixing_model(), dataset=source()).estimate
    assert asked.resolved_spec.training.language_model.packing
    assert "language_model.packing" in fields(asked.warnings)
