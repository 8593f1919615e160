"""What people are told when a job runs out of memory."""

import re

import pytest

from tuneyard.gateway.losses import memory_remedies
from tuneyard.v1 import training_pb2

TASKS = [field.name for field in training_pb2.TrainingSpec.DESCRIPTOR.oneofs_by_name["task"].fields]


@pytest.mark.parametrize("task", TASKS)
def test_remedies_name_fields_that_exist_and_end_with_a_smaller_model(task: str) -> None:
    spec = training_pb2.TrainingSpec()
    getattr(spec, task).SetInParent()
    remedies = memory_remedies(spec)
    paths = re.findall(r"(\w+)\.(\w+)", " ".join(remedies))
    assert len(paths) >= 2
    for message, field in paths:
        assert field in getattr(spec, message).DESCRIPTOR.fields_by_name, (message, field)
    assert (remedies[0].split()[1], remedies[-1]) == (
        "hyperparameters.batch_size",
        "Choose a smaller base model.",
    )
