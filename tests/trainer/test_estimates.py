from dataclasses import dataclass
from pathlib import Path

import pytest

from tuneyard.trainer import speeds
from tuneyard.trainer.estimates import (
    Offer,
    Violation,
    alternatives,
    given_fields,
    largest_device,
    largest_divisor,
    smaller_batch,
    told,
)
from tuneyard.v1 import system_pb2, training_pb2


@dataclass(frozen=True)
class Fixed:
    """Work that needs the same everywhere."""

    size: int

    def device_bytes(self) -> int:
        return self.size

    def host_bytes(self, *, on_cpu: bool) -> int:
        return self.size

    def need(self, *, on_cpu: bool) -> int:
        return self.size


def test_given_fields_are_paths_of_what_is_set() -> None:
    spec = training_pb2.TrainingSpec(base_model="m")
    spec.hyperparameters.epochs = 3
    spec.language_model.lora.lora_r = 8
    paths = ["base_model", "hyperparameters.epochs", "language_model.lora.lora_r"]
    assert list(given_fields(spec)) == paths


def test_only_offers_that_fit_are_alternatives_and_their_changes_are_json() -> None:
    offers = [Offer("large", {"a": 1}, Fixed(11)), Offer("small", {"b": "x", "c": True}, Fixed(10))]
    (found,) = alternatives(offers, limit=10, on_cpu=False)
    assert (found.description, dict(found.changes)) == ("small", {"b": '"x"', "c": "true"})
    assert found.memory.device_bytes == 10


def test_a_smaller_batch_keeps_the_effective_one() -> None:
    assert largest_divisor(5, 16) == 4
    assert largest_divisor(0, 16) == 0
    text, changes = smaller_batch(2, 16)
    assert text == "batch 2 x accumulation 8"
    assert changes["hyperparameters.gradient_accumulation_steps"] == 8


def test_accelerators_do_not_count_where_the_processor_is_asked_for() -> None:
    devices = [system_pb2.Device(id="cpu", memory_total_bytes=1), system_pb2.Device(id="cuda:0")]
    devices[1].memory_total_bytes = 2
    spec = training_pb2.TrainingSpec()
    assert largest_device(spec, devices).id == "cuda:0"
    spec.resources.force_cpu = True
    assert largest_device(spec, devices).id == "cpu"
    assert largest_device(spec, []).id == "cpu"


def test_of_very_many_violations_the_rest_is_counted() -> None:
    found = told([Violation(field=str(number)) for number in range(60)])
    assert len(found) == 51
    assert "10 more" in found[-1].description


def test_the_newest_run_weighs_as_much_as_all_before(tmp_path: Path) -> None:
    file = tmp_path / speeds.SPEEDS_FILE
    for seconds in (20.0, 40.0):
        speeds.remember(file, "k", measured_seconds=seconds, predicted_seconds=10.0)
    assert speeds.read(file) == {"k": pytest.approx(3.0)}


def test_short_runs_and_broken_files_tell_nothing(tmp_path: Path) -> None:
    file = tmp_path / speeds.SPEEDS_FILE
    speeds.remember(file, "k", measured_seconds=1.0, predicted_seconds=10.0)
    assert speeds.read(file) == {}
    file.write_text("[1")
    assert speeds.read(file) == {}
