"""Fixtures of the trainer's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.model_trainer import ModelTrainer
from tests.support.played_trainer import MakeTrainer, PlayedTrainer
from tests.support.worker_folder import MakeFolder, WorkerFolder


@pytest.fixture
def worker_folder(tmp_path: Path) -> MakeFolder:
    """Makes the folder of a first attempt; arguments beside the base model are fields of its request."""

    def make(base_model: str = "fake:", **request: object) -> WorkerFolder:
        return WorkerFolder(tmp_path, base_model=base_model, request=dict(request))

    return make


@pytest.fixture
async def make_trainer(tmp_path: Path) -> AsyncIterator[MakeTrainer]:
    """Makes a trainer on one and the same folder; its launcher is the test's to play."""
    made: list[PlayedTrainer] = []

    def make(**options: object) -> PlayedTrainer:
        made.append(PlayedTrainer(tmp_path / "data", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for trainer in made:
        trainer.crash()


@pytest.fixture
async def trainer(tmp_path: Path) -> AsyncIterator[ModelTrainer]:
    """A trainer's loaded models, with one device; the worker is a thread."""
    trainer = ModelTrainer(tmp_path)
    yield trainer
    await trainer.models.close()
