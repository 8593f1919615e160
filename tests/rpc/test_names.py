"""Resource names, taken apart and put together."""

import pytest

from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError


def test_names_and_ids_are_inverse() -> None:
    assert names.job_id(names.job_name("0198-ab")) == "0198-ab"
    assert names.dataset_id(names.dataset_name("digits")) == "digits"
    assert names.model_id(names.model_name("resnet.v2")) == "resnet.v2"
    assert names.artifact_path(names.artifact_name("7", "plots/loss.png")) == ("7", "plots/loss.png")


@pytest.mark.parametrize("name", ["jobs/7/artifacts", "jobs/7/artifacts/"])
def test_the_path_of_all_artifacts_is_empty(name: str) -> None:
    assert names.artifact_path(name) == ("7", "")


@pytest.mark.parametrize("name", ["", "7", "jobs/", "jobs/../x", "datasets/7", "jobs/a b", "jobs/7\n"])
def test_what_is_no_job_name_is_a_violation_of_its_field(name: str) -> None:
    with pytest.raises(TuneyardError) as caught:
        names.job_id(name, field="parent")
    assert caught.value.violations[0].field == "parent"


@pytest.mark.parametrize("name", ["jobs/7", "jobs/7/artifactsx", "models/7/artifacts/x"])
def test_what_is_no_artifact_name_is_refused(name: str) -> None:
    with pytest.raises(TuneyardError):
        names.artifact_path(name)
