import pytest

from tuneyard.trainer.training_settings import SharedSettings, shared_settings
from tuneyard.v1 import training_pb2


def spec(**hyper: object) -> training_pb2.TrainingSpec:
    values = {
        "schedule": training_pb2.LEARNING_RATE_SCHEDULE_LINEAR,
        "precision": training_pb2.PRECISION_BF16,
        "learning_rate": 0.5,
        **hyper,
    }
    return training_pb2.TrainingSpec(base_model="b", hyperparameters=training_pb2.Hyperparameters(**values))  # type: ignore[arg-type]


def test_set_values_are_taken_over() -> None:
    found = shared_settings(spec(epochs=3, warmup_steps=7, batch_size=4))
    assert (found["base_model"], found["epochs"], found["warmup_steps"], found["batch_size"]) == (
        "b",
        3,
        7,
        4,
    )
    assert (found["schedule"], found["precision"], found["learning_rate"]) == ("linear", "bf16", 0.5)
    assert found.keys() == SharedSettings.__annotations__.keys()


@pytest.mark.parametrize(
    "name", ["epochs", "max_steps", "warmup_steps", "eval_steps", "save_steps", "max_train_samples"]
)
def test_unset_means_none_where_zero_would_mean_something_else(name: str) -> None:
    assert dict(shared_settings(spec()))[name] is None


def test_every_schedule_and_precision_has_a_name() -> None:
    for schedule in training_pb2.LearningRateSchedule.values()[1:]:
        assert shared_settings(spec(schedule=schedule))["schedule"]
    for precision in training_pb2.Precision.values()[1:]:
        assert shared_settings(spec(precision=precision))["precision"]
