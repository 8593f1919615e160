"""The real vision trainer: forked workers, a store, checkpoints that went through it."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.trainer_process import TrainerProcess
from tuneyard.storage import FolderStore
from tuneyard.v1 import trainer_service_pb2 as pb
from tuneyard.v1.dataset_pb2 import DATASET_FORMAT_IMAGE_FOLDER
from tuneyard.v1.system_pb2 import SLOT_KIND_DEVICE
from tuneyard.v1.training_pb2 import Family

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[TrainerProcess]:
    process = TrainerProcess(tmp_path, module="tuneyard.vision").start_ready()
    yield process
    process.close()


@pytest.fixture
def request_of(draw, store: FolderStore, tmp_path: Path):
    """Requests to train on a drawn dataset that lies in the store as a ZIP file."""
    root, archive = draw().dir, tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(root.rglob("*.png")):
            zipped.write(path, path.relative_to(root))
    store.put_file("datasets/d/data", archive)

    def made(job: str, *, attempt: int = 1, epochs: int = 2) -> pb.StartRunRequest:
        request = pb.StartRunRequest(
            controller_epoch=1,
            job=f"jobs/{job}",
            attempt=attempt,
            slot=SLOT_KIND_DEVICE,
            prefix=f"jobs/{job}/attempts/{attempt}",
        )
        data = request.dataset
        data.name, data.key, data.format = "datasets/d", "datasets/d/data", DATASET_FORMAT_IMAGE_FOLDER
        data.sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        data.size_bytes = archive.stat().st_size
        spec = request.spec.training
        spec.dataset, spec.base_model = "datasets/d", "mobilenet_v3_small"
        spec.hyperparameters.epochs, spec.hyperparameters.batch_size = epochs, 8
        spec.image_classifier.pretrained, spec.image_classifier.image_size = False, 32
        return request

    return made


def weights(store: FolderStore, records: list[pb.RunRecord], folder: Path) -> dict[str, object]:
    """The stored model's weights."""
    (key,) = [r.artifact.file.key for r in records if r.artifact.artifact.path == "model.safetensors"]
    store.get_file(key, folder / "model.safetensors")
    return load_file(folder / "model.safetensors")


def test_the_trainer_says_what_it_is(trainer: TrainerProcess) -> None:
    info = trainer.info()
    assert info.trainer.family == Family.FAMILY_VISION and info.trainer.warm
    assert info.base_models[0].id == "resnet50"


def test_a_worker_trains_and_stores_its_model(trainer, request_of, store, tmp_path) -> None:
    trainer.stub.StartRun(request_of("whole"), timeout=10)
    records, ended = trainer.read("whole", timeout=120)
    kinds = [record.WhichOneof("body") for record in records]
    assert (kinds[0], kinds[-1], ended.exit_code) == ("started", "result", 0)
    assert {"stage", "progress", "metrics", "checkpoint", "sample", "artifact", "finalizing"} <= set(kinds)
    assert records[-1].result.step == 8
    assert weights(store, records, tmp_path)


def test_a_paused_job_ends_with_the_weights_of_one_that_was_not(trainer, request_of, store, tmp_path) -> None:
    trainer.stub.StartRun(request_of("whole", epochs=8), timeout=10)
    whole, _ = trainer.read("whole", timeout=120)
    trainer.stub.StartRun(request_of("parts", epochs=8), timeout=10)
    trainer.wait_for_record("parts", "checkpoint")
    trainer.stop("parts", pb.STOP_MODE_PAUSE)
    first, _ = trainer.read("parts", timeout=120)
    assert first[-1].WhichOneof("body") == "paused"
    again = request_of("parts", attempt=2, epochs=8)
    again.checkpoint.CopyFrom(
        [record.checkpoint.checkpoint for record in first if record.HasField("checkpoint")][-1]
    )
    trainer.stub.StartRun(again, timeout=10)
    second, _ = trainer.read("parts", attempt=2, timeout=120)
    expected, found = weights(store, whole, tmp_path), weights(store, second, tmp_path)
    assert all(bool((found[name] == value).all()) for name, value in expected.items())
