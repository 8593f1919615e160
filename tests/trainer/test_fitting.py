from dataclasses import dataclass

import pytest

from tuneyard.trainer.fitting import fitted, usable_bytes
from tuneyard.v1 import system_pb2, training_pb2

GIB = 1 << 30


@dataclass(frozen=True)
class Work:
    """Needs a GiB for each sample of a micro-batch, and half of that with gradient checkpointing."""

    batch_size: int
    checkpointing: bool

    def device_bytes(self) -> int:
        return self.batch_size * GIB // (2 if self.checkpointing else 1)

    def host_bytes(self, *, on_cpu: bool) -> int:
        return self.device_bytes()

    def need(self, *, on_cpu: bool) -> int:
        return self.device_bytes()


def work_of(spec: training_pb2.TrainingSpec) -> Work:
    return Work(spec.hyperparameters.batch_size, spec.language_model.gradient_checkpointing)


def recommended() -> training_pb2.TrainingSpec:
    spec = training_pb2.TrainingSpec()
    spec.hyperparameters.batch_size = 4
    spec.hyperparameters.gradient_accumulation_steps = 4
    spec.language_model.gradient_checkpointing = False
    return spec


def given(*, checkpointing: bool | None = None) -> training_pb2.TrainingSpec:
    spec = training_pb2.TrainingSpec(language_model=training_pb2.LanguageModel())
    if checkpointing is not None:
        spec.language_model.gradient_checkpointing = checkpointing
    return spec


def card(gib: float) -> system_pb2.Device:
    return system_pb2.Device(id="cuda:0", memory_total_bytes=round(gib * GIB / 0.95))


def test_what_fits_stays_as_it_was_recommended() -> None:
    assert fitted(given(), recommended(), card(4), work_of=work_of) == (recommended(), Work(4, False), ())


def test_a_device_of_unknown_memory_changes_nothing() -> None:
    assert fitted(given(), recommended(), card(0), work_of=work_of)[1:] == (Work(4, False), ())


@pytest.mark.parametrize(("gib", "batch", "checkpoints"), [(2, 2, False), (1, 1, False), (0.5, 1, True)])
def test_the_effective_batch_is_kept_with_less_at_once_and_said(
    gib: float, batch: int, checkpoints: bool
) -> None:
    spec, work, (warning,) = fitted(given(), recommended(), card(gib), work_of=work_of)
    assert (spec.hyperparameters.batch_size, spec.hyperparameters.gradient_accumulation_steps) == (
        batch,
        16 // batch,
    )
    assert (work, spec.language_model.gradient_checkpointing) == (Work(batch, checkpoints), checkpoints)
    assert warning.field == "spec.hyperparameters.batch_size"
    assert "effective batch stays 16" in warning.description
    assert ("and gradient checkpointing" in warning.description) is checkpoints


def test_the_smallest_is_told_without_a_warning_where_nothing_fits() -> None:
    assert fitted(given(), recommended(), card(0.1), work_of=work_of)[1:] == (Work(1, True), ())


def test_what_the_caller_set_is_never_changed() -> None:
    own_batch = given()
    own_batch.hyperparameters.batch_size = 4
    assert fitted(own_batch, recommended(), card(1), work_of=work_of)[1:] == (Work(4, False), ())
    no_checkpoints = given(checkpointing=False)
    assert fitted(no_checkpoints, recommended(), card(0.5), work_of=work_of)[1:] == (Work(1, False), ())


def test_a_host_keeps_a_tenth_for_others_and_an_accelerator_a_twentieth() -> None:
    assert (usable_bytes(1000, on_cpu=True), usable_bytes(1000, on_cpu=False)) == (900, 950)
