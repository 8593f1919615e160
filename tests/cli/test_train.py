from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from scripts.generate_field_help import PROTO, TARGET, source
from tests.support.fake_gateway import FakeDatasets, FakeGateway, FakeJob
from tuneyard.cli.spec_options import TASK_FIELDS, build_spec, options_of
from tuneyard.v1 import dataset_pb2, job_pb2, training_pb2
from tuneyard.v1.training_pb2 import TrainingSpec
from tuneyard.v1.training_service_pb2 import EstimateResponse

Run = Callable[..., Any]
TASK = ("train", "image-classifier", "--dataset", "digits", "--base-model", "resnet18")


@pytest.fixture
def job(gateway: FakeGateway) -> FakeJob:
    fake = FakeJob("jobs/1")
    fake.serve(gateway)
    return fake


def _leaves(message: Descriptor, prefix: str = "") -> set[str]:
    found = set()
    for field in message.fields:
        nested = field.message_type
        if nested is not None and not nested.GetOptions().map_entry:
            found |= _leaves(nested, f"{prefix}{field.name}.")
        else:
            found.add(prefix + field.name)
    return found


def test_every_field_of_the_spec_has_an_option() -> None:
    options = {option.path for task in TASK_FIELDS for option in options_of(task)}
    assert options | {"dataset", "base_model"} == _leaves(TrainingSpec.DESCRIPTOR)


@pytest.mark.parametrize("task", TASK_FIELDS)
def test_no_two_options_of_a_task_have_one_name(task: str) -> None:
    flags = [option.flag for option in options_of(task)]
    assert len(flags) == len(set(flags))


def test_the_help_is_the_protos_comments() -> None:
    assert TARGET.read_text() == source(PROTO.read_text()), "python scripts/generate_field_help.py"


@pytest.mark.parametrize("name", ["clip", "models/clip"])
def test_a_model_of_the_store_needs_no_prefix(name: str) -> None:
    spec = build_spec("text-to-image-lora", dataset="", base_model="", values={"clip_model": name})
    assert spec.text_to_image_lora.clip_model == "models/clip"


def test_options_become_the_typed_spec(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    options = [
        *("--epochs", 3, "--learning-rate", "1e-3", "--schedule", "linear", "--optimizer", "adamw-8bit"),
        *("--no-pretrained", "--image-size", 32, "--subset", 100, "--early-stopping-patience", 4),
        *("--class-weights", "a=2", "--horizontal-flip", 0, "--force-cpu", "--seed", 7),
        *("--set", "checkpoints.keep_last=5", "--detach"),
    ]
    assert run(*TASK, *options).code == 0
    assert gateway.requests["Train"][0].spec == TrainingSpec(
        dataset="datasets/digits",
        base_model="resnet18",
        seed=7,
        hyperparameters=training_pb2.Hyperparameters(
            epochs=3,
            learning_rate=1e-3,
            schedule=training_pb2.LEARNING_RATE_SCHEDULE_LINEAR,
            optimizer=training_pb2.OPTIMIZER_ADAMW_8BIT,
        ),
        resources=training_pb2.Resources(force_cpu=True),
        checkpoints=training_pb2.CheckpointPolicy(keep_last=5),
        early_stopping=training_pb2.EarlyStopping(patience=4),
        data_split=training_pb2.DataSplit(max_train_samples=100),
        image_classifier=training_pb2.ImageClassifier(
            pretrained=False,
            image_size=32,
            class_weights={"a": 2.0},
            augmentation=training_pb2.ImageAugmentation(horizontal_flip=0.0),
        ),
    )


def test_what_is_not_given_is_not_in_the_spec(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    run(*TASK, "--detach")
    assert gateway.requests["Train"][0].spec == TrainingSpec(
        dataset="datasets/digits", base_model="resnet18", image_classifier=training_pb2.ImageClassifier()
    )


def test_a_word_that_is_no_choice_is_answered_with_the_choices(run: Run, job: FakeJob) -> None:
    refused = " ".join(run(*TASK, "--precision", "fp64").err.replace("│", "").split())
    assert "'fp64' is none of auto, bf16, fp16, fp32." in refused
    assert "Value error" not in refused and "Did you mean" not in refused
    assert "Did you mean adamw?" in " ".join(run(*TASK, "--optimizer", "adam").err.replace("│", "").split())


def test_choices_are_read_whatever_their_capitals(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    assert run(*TASK, "--precision", "FP32", "--optimizer", "adamw_8bit", "--detach").code == 0
    hyperparameters = gateway.requests["Train"][0].spec.hyperparameters
    assert hyperparameters.precision == training_pb2.PRECISION_FP32
    assert hyperparameters.optimizer == training_pb2.OPTIMIZER_ADAMW_8BIT


def test_labels_priority_and_request_id_are_sent(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    run(*TASK, "--detach", "--label", "a=b", "--priority", 3, "--request-id", "once")
    request = gateway.requests["Train"][0]
    assert (dict(request.labels), request.priority, request.request_id) == ({"a": "b"}, 3, "once")


def test_lists_and_methods_of_language_models_are_options() -> None:
    values = {"target_modules": ["q_proj", "v_proj"], "lora_r": 8, "packing": False}
    spec = build_spec("llm", dataset="datasets/d", base_model="m", values=values)
    assert list(spec.language_model.lora.target_modules) == ["q_proj", "v_proj"]
    assert spec.language_model.lora.lora_r == 8
    assert spec.language_model.packing is False


def test_detached_training_says_how_to_watch(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    ran = run(*TASK, "--detach")
    assert "created jobs/1" in ran.out
    assert f"tuneyard watch 1 --server {gateway.address}" in " ".join(ran.out.split())


def test_without_a_terminal_training_is_detached(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    run(*TASK)
    assert gateway.calls["WatchJob"] == 0


def test_watched_training_shows_what_happens(run: Run, job: FakeJob) -> None:
    ran = run(*TASK, "--watch")
    assert "RUNNING" in ran.out
    assert "eval/accuracy_top1 0.9800" in ran.out
    assert "tuneyard artifacts download 1" in ran.out


def test_training_with_json_prints_the_events_and_ends_with_the_job(run: Run, job: FakeJob) -> None:
    ran = run(*TASK, "--json")
    *events, last = ran.documents
    assert [event["sequence"] for event in events] == [str(event.sequence) for event in job.events]
    assert (last["name"], last["state"]) == ("jobs/1", "JOB_STATE_SUCCEEDED")


def test_detached_training_with_json_is_one_document(run: Run, job: FakeJob) -> None:
    assert run(*TASK, "--json", "--detach").document["name"] == "jobs/1"


def test_a_dataset_that_is_a_path_is_uploaded_first(
    gateway: FakeGateway, run: Run, job: FakeJob, tmp_path: Path
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    (tmp_path / "my.zip").write_bytes(b"zip")
    run("train", "image-classifier", "--dataset", tmp_path / "my.zip", "--base-model", "x", "--detach")
    (uploaded,) = datasets.datasets.values()
    assert uploaded.format == dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
    assert gateway.requests["Train"][0].spec.dataset == uploaded.name


def test_a_validation_dataset_is_named_or_uploaded_as_the_dataset_is(
    gateway: FakeGateway, run: Run, job: FakeJob, tmp_path: Path
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    (tmp_path / "val.jsonl").write_text("{}")
    task = ("train", "llm", "--dataset", "faq", "--base-model", "x", "--detach", "--validation-dataset")
    run(*task, "held-out")
    run(*task, tmp_path / "val.jsonl")
    (uploaded,) = datasets.datasets
    splits = [request.spec.data_split.validation_dataset for request in gateway.requests["Train"]]
    assert splits == ["datasets/held-out", uploaded]
    assert "--validation-dataset" in run(*task, tmp_path / "none.jsonl").err


def test_a_dataset_of_the_server_goes_before_a_folder_of_the_same_name(
    gateway: FakeGateway, run: Run, job: FakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = FakeDatasets()
    datasets.serve(gateway)
    datasets.datasets["datasets/digits"] = dataset_pb2.Dataset(name="datasets/digits")
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "1.txt").write_text("1")
    monkeypatch.chdir(tmp_path)
    assert "./digits means the one here" in run(*TASK, "--detach").out
    run("train", "image-classifier", "--dataset", "./digits", "--base-model", "x", "--detach")
    first, second = gateway.requests["Train"]
    assert first.spec.dataset == "datasets/digits"
    assert second.spec.dataset.startswith("datasets/digits-")


def test_wrong_options_are_seen_before_the_upload(gateway: FakeGateway, run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.zip").write_bytes(b"zip")
    ran = run(
        *("train", "image-classifier", "--dataset", tmp_path / "my.zip", "--base-model", "x"),
        *("--set", "hyperparameters.epochs=many"),
    )
    assert ran.code == 2
    assert gateway.calls["CreateDataset"] == 0


def test_validate_only_creates_nothing(gateway: FakeGateway, run: Run, job: FakeJob) -> None:
    ran = run(*TASK, "--validate-only")
    assert ran.code == 0
    assert gateway.requests["Train"][0].validate_only
    assert gateway.calls["WatchJob"] == 0


def _answer(gateway: FakeGateway, estimate: job_pb2.Estimate) -> None:
    gateway.answer("Estimate", EstimateResponse(estimate=estimate))


def test_an_estimate_tells_what_was_given_and_what_is_recommended(gateway: FakeGateway, run: Run) -> None:
    resolved = training_pb2.TrainingSpec(hyperparameters={"epochs": 3, "batch_size": 16})
    _answer(
        gateway,
        job_pb2.Estimate(
            fits=True,
            total_steps=90,
            effective_batch_size=16,
            resolved_spec=job_pb2.JobSpec(training=resolved),
            given_fields=["hyperparameters.epochs"],
        ),
    )
    ran = run("estimate", *TASK[1:])
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["hyperparameters.epochs", "3", "given"] in lines
    assert ["hyperparameters.batch_size", "16", "recommended"] in lines


@pytest.mark.parametrize("wrong", [{"fits": False}, {"fits": True, "violations": [{"field": "spec.seed"}]}])
def test_an_estimate_of_what_cannot_be_is_1(gateway: FakeGateway, run: Run, wrong: dict[str, Any]) -> None:
    _answer(gateway, job_pb2.Estimate(**wrong))
    assert run("estimate", *TASK[1:]).code == 1


def test_an_estimate_with_json_is_the_message(gateway: FakeGateway, run: Run) -> None:
    _answer(gateway, job_pb2.Estimate(fits=True, total_steps=90))
    assert run("estimate", *TASK[1:], "--json").document == {"fits": True, "totalSteps": "90"}


LLM = ("estimate", "llm", "--dataset", "faq", "--base-model", "mistral-7b")


def _predict(gateway: FakeGateway) -> None:
    """Answers with memory by method, whatever else is asked for; an unset method is LoRA."""

    def predicted(request: Any, _: Any) -> EstimateResponse:
        resolved = training_pb2.TrainingSpec()
        resolved.CopyFrom(request.spec)
        method = resolved.language_model.method or training_pb2.FINE_TUNING_METHOD_LORA
        resolved.language_model.method = method
        memory = job_pb2.MemoryUse(device_bytes={1: 28 << 30, 2: 16 << 30, 3: 6 << 30}[method])
        return EstimateResponse(
            estimate=job_pb2.Estimate(
                fits=method != training_pb2.FINE_TUNING_METHOD_FULL,
                memory=memory,
                resolved_spec=job_pb2.JobSpec(training=resolved),
            )
        )

    gateway.on("Estimate", predicted)


def test_an_estimate_of_a_fine_tuning_shows_every_method(gateway: FakeGateway, run: Run) -> None:
    _predict(gateway)
    ran = run(*LLM, "--lora-r", 16)
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines() if "GiB" in line and "×" in line]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("full", "28.0", "no"),
        ("LoRA", "16.0", "yes"),
        ("QLoRA", "6.0", "yes"),
    ]
    asked = [request.spec.language_model for request in gateway.requests["Estimate"]]
    assert [each.lora.lora_r for each in asked] == [16, 0, 16]


def test_an_estimate_with_json_asks_for_no_other_method(gateway: FakeGateway, run: Run) -> None:
    _predict(gateway)
    assert run(*LLM, "--json").document["fits"]
    assert gateway.calls["Estimate"] == 1


def test_an_estimate_without_a_prediction_compares_nothing(gateway: FakeGateway, run: Run) -> None:
    _answer(gateway, job_pb2.Estimate(violations=[{"field": "spec.seed"}]))
    assert run(*LLM).code == 1
    assert gateway.calls["Estimate"] == 1
