"""Datasets by the names that people have for them."""

import pytest

from tests.cli.conftest import Run
from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1.dataset_pb2 import DATASET_STATE_INVALID, DATASET_STATE_READY, Dataset
from tuneyard.v1.dataset_service_pb2 import ListDatasetsResponse

READY = Dataset(name="datasets/tickets-1", display_name="tickets.jsonl", state=DATASET_STATE_READY)
REFUSED = Dataset(name="datasets/tickets-2", display_name="tickets.jsonl", state=DATASET_STATE_INVALID)
OTHER = Dataset(name="datasets/other", display_name="other.zip", state=DATASET_STATE_READY)
TRAIN = ("train", "llm", "--base-model", "m", "--detach", "--dataset")


def store(gateway: FakeGateway, *datasets: Dataset) -> None:
    gateway.fail("GetDataset", TuneyardError("DATASET_NOT_FOUND", "no"))
    gateway.answer("ListDatasets", ListDatasetsResponse(datasets=datasets))


@pytest.mark.parametrize("word", ["tickets", "datasets/tickets-1"])
def test_a_dataset_is_trained_on_by_its_files_name_or_its_full_one(
    gateway: FakeGateway, run: Run, word: str
) -> None:
    store(gateway, REFUSED, READY, OTHER)
    assert run(*TRAIN, word).code == 0
    assert gateway.requests["Train"][0].spec.dataset == "datasets/tickets-1"


def test_a_title_that_only_a_refused_dataset_has_means_that(gateway: FakeGateway, run: Run) -> None:
    store(gateway, REFUSED, OTHER)
    run("datasets", "delete", "tickets")
    assert gateway.requests["DeleteDataset"][0].name == "datasets/tickets-2"


def test_a_title_of_several_datasets_names_them(gateway: FakeGateway, run: Run) -> None:
    store(gateway, READY, Dataset(name="datasets/tickets-3", display_name="tickets.jsonl"))
    ran = run(*TRAIN, "tickets")
    assert (ran.code, gateway.calls["Train"]) == (2, 0)
    assert "datasets/tickets-1, datasets/tickets-3" in " ".join(ran.err.split())
