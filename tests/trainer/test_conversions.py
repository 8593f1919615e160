import asyncio
import os
from pathlib import Path

import pytest

from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore
from tuneyard.trainer.conversions import Conversions
from tuneyard.trainer.process import identify
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.trainer_service_pb2 import ConvertModelRequest
from tuneyard.v1.training_pb2 import TaskKind

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")


@pytest.fixture
async def conversions(tmp_path: Path, store: FolderStore) -> Conversions:
    return Conversions(
        "tests.support.scripted_convert",
        folder=tmp_path / "conversions",
        open_store=lambda: store,
        environment={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )


def request(store: FolderStore, script: str, **fields: str) -> ConvertModelRequest:
    info = store.put("models/m/1/received/script", script.encode())
    message = ConvertModelRequest(prefix="models/m/2/", **fields)
    message.model.files.append(
        StoredFile(path="script", key=info.key, size_bytes=info.size_bytes, sha256=info.sha256)
    )
    return message


async def test_files_go_through_the_familys_module_and_back(conversions, store, tmp_path) -> None:
    asked = request(store, "weights")
    asked.model.architecture = "mine"
    response = await conversions.convert(asked)
    [file] = response.model.files
    assert (file.path, file.key) == ("copy", "models/m/2/copy")
    assert b"".join(store.read(file.key)) == b"weights"
    assert (response.model.architecture, response.model.revision, response.detail) == ("mine", "r1", "a copy")
    assert list(response.tasks) == [TaskKind.TASK_KIND_IMAGE_CLASSIFIER]
    assert list((tmp_path / "conversions").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("refuse", "these are no weights Try others."),
        ("refuse kind", "models of this kind are not taken"),
        ("crash", "cannot be read as a model"),
    ],
)
async def test_a_refusal_and_a_crash_are_told_and_leave_nothing(
    conversions, store, tmp_path, script: str, told: str
) -> None:
    with pytest.raises(TuneyardError, match=told) as failed:
        await conversions.convert(request(store, script))
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"
    assert list((tmp_path / "conversions").iterdir()) == []
    assert list(store.list("models/m/2/")) == []


async def test_bytes_that_changed_in_the_store_are_refused(conversions, store) -> None:
    asked = request(store, "weights")
    asked.model.files[0].sha256 = "0" * 64
    with pytest.raises(TuneyardError, match="not those received"):
        await conversions.convert(asked)


async def test_a_caller_that_leaves_ends_the_process(conversions, store, tmp_path) -> None:
    task = asyncio.create_task(conversions.convert(request(store, "hang")))
    async with asyncio.timeout(20):
        while not (pids := list((tmp_path / "conversions").glob("*/pid"))) or not pids[0].read_text():
            await asyncio.sleep(0.01)
    pid = int(pids[0].read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert identify(pid) is None
    assert list((tmp_path / "conversions").iterdir()) == []


async def test_a_family_without_a_converter_says_so(tmp_path, store) -> None:
    none = Conversions("", folder=tmp_path / "c", open_store=lambda: store, environment={})
    with pytest.raises(TuneyardError) as failed:
        await none.convert(request(store, "weights"))
    assert failed.value.reason == "NOT_SUPPORTED"
