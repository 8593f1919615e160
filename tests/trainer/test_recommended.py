import pytest

from tuneyard.trainer.recommended import fill, fill_batch, fill_shared
from tuneyard.v1 import training_pb2

Hyper = training_pb2.Hyperparameters


def filled(**given: object) -> training_pb2.TrainingSpec:
    spec = training_pb2.TrainingSpec(hyperparameters=Hyper(**given))  # type: ignore[arg-type]
    fill_shared(spec, epochs=7, warmup_ratio=0.1, metric="eval/loss")
    return spec


def test_only_what_is_not_set_is_filled() -> None:
    hyper = Hyper(weight_decay=0.0)
    fill(hyper, weight_decay=0.5, max_grad_norm=2.0)
    assert (hyper.weight_decay, hyper.max_grad_norm) == (0.0, 2.0)


def test_a_spec_that_sets_nothing_gets_everything() -> None:
    spec = filled()
    assert (spec.hyperparameters.epochs, spec.hyperparameters.schedule) == (
        7,
        training_pb2.LEARNING_RATE_SCHEDULE_COSINE,
    )
    assert spec.hyperparameters.warmup_ratio == pytest.approx(0.1)
    assert spec.early_stopping.metric == "eval/loss"
    again = training_pb2.TrainingSpec()
    again.CopyFrom(spec)
    fill_shared(again, epochs=1, warmup_ratio=0.2, metric="eval/other")
    assert again == spec


def test_of_two_fields_that_exclude_each_other_the_other_stays_unset() -> None:
    hyper = filled(max_steps=3, warmup_steps=1).hyperparameters
    assert not hyper.HasField("epochs") and not hyper.HasField("warmup_ratio")


@pytest.mark.parametrize(
    ("optimizer", "has"), [(training_pb2.OPTIMIZER_SGD, True), (training_pb2.OPTIMIZER_ADAMW, False)]
)
def test_only_sgd_gets_a_momentum(optimizer: "training_pb2.Optimizer.ValueType", has: bool) -> None:
    assert filled(optimizer=optimizer).hyperparameters.HasField("momentum") is has


@pytest.mark.parametrize(
    ("given", "batch"),
    [
        (Hyper(), (4, 4)),
        (Hyper(batch_size=2), (2, 8)),
        (Hyper(batch_size=64), (64, 1)),
        (Hyper(gradient_accumulation_steps=8), (2, 8)),
        (Hyper(gradient_accumulation_steps=1), (4, 1)),
        (Hyper(gradient_accumulation_steps=64), (1, 64)),
        (Hyper(batch_size=3, gradient_accumulation_steps=5), (3, 5)),
    ],
)
def test_the_effective_batch_stays_near_the_recommended_one(given: Hyper, batch: tuple[int, int]) -> None:
    fill_batch(given, batch_size=4, effective=16)
    assert (given.batch_size, given.gradient_accumulation_steps) == batch
