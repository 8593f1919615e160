import pytest

from tuneyard.trainer.spec_checks import (
    batch_beyond_data,
    impossible_on_devices,
    is_hub_id,
    moving_revision,
    nothing_to_page,
    unknown_metric,
    unusual_split,
    wrong_dataset_format,
)
from tuneyard.v1 import dataset_pb2, system_pb2, training_pb2

Spec = training_pb2.TrainingSpec
CPU, GPU = system_pb2.Device(id="cpu"), system_pb2.Device(id="cuda:0")
HALF = training_pb2.Hyperparameters(precision=training_pb2.PRECISION_FP16)


@pytest.mark.parametrize("name", ["owner/name", "Owner-1/a.b_c-2.5"])
def test_a_hub_s_name_has_an_owner(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize("name", ["", "resnet50", "a/b/c", "../name", "owner/..", "owner/na me"])
def test_anything_else_is_no_hub_s_name(name: str) -> None:
    assert not is_hub_id(name)


def test_a_dataset_of_another_layout_is_named_beside_the_wanted_one() -> None:
    wanted, given = dataset_pb2.DATASET_FORMAT_JSONL, dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
    told = wrong_dataset_format(given, wanted=wanted, trained="A language model")
    assert told is not None and told.field == "spec.dataset"
    assert told.description == "A language model needs a dataset of format jsonl, not image-folder."


@pytest.mark.parametrize("name", ["DATASET_FORMAT_UNSPECIFIED", "DATASET_FORMAT_YOLO"])
def test_the_wanted_layout_and_one_that_is_not_known_yet_pass(name: str) -> None:
    given, wanted = dataset_pb2.DatasetFormat.Value(name), dataset_pb2.DATASET_FORMAT_YOLO
    assert wrong_dataset_format(given, wanted=wanted, trained="An object detector") is None


def test_a_metric_that_is_not_measured_is_told_with_those_that_are() -> None:
    spec = Spec(early_stopping=training_pb2.EarlyStopping(metric="eval/f1"))
    (told,) = unknown_metric(spec, ("eval/loss", "eval/perplexity"))
    assert told.field == "spec.early_stopping.metric"
    assert "'eval/f1': use one of eval/loss, eval/perplexity." in told.description
    assert not list(unknown_metric(spec, ("eval/f1",)))


@pytest.mark.parametrize(
    ("name", "revision", "wrong"),
    [
        ("owner/name", "main", True),
        ("owner/name", "0" * 39, True),
        ("owner/name", "0" * 40, False),
        ("owner/name", "", False),
        ("models/mine", "main", False),
    ],
)
def test_only_commits_name_a_hub_s_weights(name: str, revision: str, wrong: bool) -> None:
    spec = Spec(base_model=name, base_model_revision=revision)
    assert [told.field for told in moving_revision(spec)] == ["spec.base_model_revision"] * wrong


@pytest.mark.parametrize(("devices", "have"), [([GPU], "this trainer has 1, and "), ([GPU, GPU], "")])
def test_several_devices_are_refused(devices: list[system_pb2.Device], have: str) -> None:
    spec = Spec(resources=training_pb2.Resources(device_count=2))
    (told,) = impossible_on_devices(spec, devices, trained="a language model")
    assert told.field == "spec.resources.device_count"
    assert told.description == f"2 devices: {have}a language model is trained on one."


@pytest.mark.parametrize(
    ("devices", "force_cpu", "fields"),
    [
        ([CPU, GPU], False, []),
        ([CPU, GPU], True, ["spec.hyperparameters.precision"]),
        ([CPU], False, ["spec.hyperparameters.precision"]),
    ],
)
def test_fp16_needs_an_accelerator(
    devices: list[system_pb2.Device], force_cpu: bool, fields: list[str]
) -> None:
    spec = Spec(hyperparameters=HALF, resources=training_pb2.Resources(force_cpu=force_cpu))
    assert [told.field for told in impossible_on_devices(spec, devices, trained="a LoRA")] == fields


@pytest.mark.parametrize(
    ("share", "brings", "told"),
    [
        (None, True, []),
        (0.15, False, []),
        (0.5, False, ["0.5; 0.1 to 0.2 is usual."]),
        (0.15, True, ["The dataset brings its own validation split, which is used."]),
    ],
)
def test_a_share_that_is_unusual_or_not_used_is_told(
    share: float | None, brings: bool, told: list[str]
) -> None:
    spec = Spec(data_split=training_pb2.DataSplit(validation_fraction=share))
    assert [each.description for each in unusual_split(spec, brings_validation=brings)] == told


def test_a_step_of_more_than_all_samples_is_told() -> None:
    spec = Spec(hyperparameters=training_pb2.Hyperparameters(batch_size=4, gradient_accumulation_steps=4))
    (told,) = batch_beyond_data(spec, 15, samples="images")
    assert told.description == "An effective batch of 16 is larger than the 15 training images."
    assert not list(batch_beyond_data(spec, 16, samples="images"))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_only_an_accelerator_s_memory_is_paged(on_cpu: bool) -> None:
    paged = training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT
    spec = Spec(hyperparameters=training_pb2.Hyperparameters(optimizer=paged))
    assert bool(list(nothing_to_page(spec, on_cpu=on_cpu))) is on_cpu
