"""Imported models with the real vision trainer: from a file to a training, and what is refused on the way."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.platform import TERMINAL, Platform, eventually, platform
from tuneyard.client import Client, errors
from tuneyard.v1 import job_pb2, model_service_pb2, training_pb2
from tuneyard.vision import networks

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A gateway and the vision trainer, which may fetch nothing."""
    root = tmp_path_factory.mktemp("models")
    extra = {"TUNEYARD_OFFLINE": "true", "TORCH_HOME": str(root / "torch")}
    with platform(root, trainers={"vision": "tuneyard.vision"}, extra=extra) as started:
        started.upload_images("shapes")
        yield started


@pytest.fixture
def client(vision: Platform) -> Iterator[Client]:
    with Client(vision.address) as connected:
        yield connected


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(networks.build(NAME, classes=5, image_size=224).state_dict(), path)
    return path


def spec(base_model: str) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model=base_model)
    message.hyperparameters.max_steps = 1
    message.hyperparameters.batch_size = 2
    message.image_classifier.image_size = 32
    return message


def trained(vision: Platform, base_model: str) -> job_pb2.Job:
    job = vision.train(spec(base_model))
    eventually(lambda: vision.job(job.name).state in TERMINAL, within=120, what=f"the end of {job.name}")
    return vision.job(job.name)


def test_an_uploaded_state_dict_is_trained_on_without_a_network(
    vision: Platform, client: Client, weights: Path
) -> None:
    with pytest.raises(errors.BaseModelUnavailable) as refused:
        client.train(spec(NAME))
    assert f"tuneyard models import FILE --name {NAME}" in str(refused.value)
    client.models.upload(weights, family="vision", name=NAME)
    model = client.models.wait_ready(NAME)
    assert (model.architecture, model.detail) == (
        NAME,
        f"{NAME} of torchvision, 5 classes, 224 px (state dict)",
    )
    job = trained(vision, NAME)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.resolved_spec.training.base_model == f"models/{NAME}"
    assert job.peak_memory.host_bytes > 0
    assert job.estimate.memory.host_bytes > 0
    listed = {each.id: each for each in client.models.base_models(family="vision")}
    assert listed[NAME].availability == model_service_pb2.AVAILABILITY_IN_STORE
    assert listed["resnet50"].availability == model_service_pb2.AVAILABILITY_IMPORT_NEEDED


def test_a_folder_of_the_server_is_imported(vision: Platform, client: Client, weights: Path) -> None:
    folder = vision.root / "imports" / "mine"
    folder.mkdir(parents=True)
    weights.rename(folder / "weights.pth")
    client.models.import_(str(folder), family="vision", name="mine")
    assert client.models.wait_ready("mine").architecture == NAME
    stored = list((vision.root / "store").rglob("model.safetensors"))
    assert any("mine" in str(path) and len(load_file(path)) for path in stored)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_file_with_code_is_refused_and_never_run(client: Client, tmp_path: Path, write: Any) -> None:
    trap, evil = tmp_path / "run", tmp_path / "evil.pt"
    with evil.open("wb") as file:
        write(Trap(trap), file)
    model = client.models.upload(evil, family="vision")
    with pytest.raises(errors.ServerError, match="cannot be read safely"):
        client.models.wait_ready(model.name)
    assert not trap.exists()


def test_a_hub_that_cannot_be_reached_says_what_to_import(client: Client) -> None:
    model = client.models.import_("google/vit-base-patch16-224", family="vision")
    with pytest.raises(errors.ServerError, match="tuneyard models import FOLDER"):
        client.models.wait_ready(model.name)
    with pytest.raises(errors.BaseModelUnavailable, match="google/vit-base-patch16-224"):
        client.train(spec("google/vit-base-patch16-224"))


def test_a_trainer_that_was_away_finishes_the_import(vision: Platform, client: Client, weights: Path) -> None:
    vision.trainer.kill()
    client.models.upload(weights, family="vision", name="later")
    vision.trainer.start()
    assert client.models.wait_ready("later").architecture == NAME
