import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_launcher import FakeLauncher, FakeWorker
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import StoreSettings
from tuneyard.trainer.frames import Failure
from tuneyard.trainer.launcher import LaunchError
from tuneyard.trainer.preview_worker import ANSWER_FILE, FAILURE_FILE, REQUEST_FILE
from tuneyard.trainer.previews import PREVIEW_WORKER_MODULE, Previews
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.v1.preview_pb2 import Preview
from tuneyard.v1.trainer_service_pb2 import TrainerServicePreviewRequest, TrainerServicePreviewResponse

REQUEST = TrainerServicePreviewRequest(split="train", max_rows=3)
Make = Callable[..., Previews]


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def make(tmp_path: Path, launcher: FakeLauncher) -> Make:
    settings = WorkerSettings(
        family_entry="tuneyard.llm.entry",
        device="cpu",
        cpu_threads=1,
        store_url=str(tmp_path / "store"),
        store=StoreSettings(),
        cache_dir=tmp_path / "cache",
        cache_limit_bytes=0,
        wake_socket=None,
        parent_pid=0,
    )

    def made(*, offered: bool = True, **options: object) -> Previews:
        return Previews(
            tmp_path / "previews",
            offered=offered,
            launcher=launcher,
            order=lambda: WorkOrder(settings=settings, env={}),
            **options,  # type: ignore[arg-type]
        )

    return made


async def played(
    previews: Previews, launcher: FakeLauncher, play: Callable[[FakeWorker], None]
) -> TrainerServicePreviewResponse:
    asked = asyncio.create_task(previews.preview(REQUEST))
    worker = await launcher.launched()
    play(worker)
    worker.end()
    return await asked


async def test_a_worker_gets_the_request_and_its_answer_is_returned(make, launcher, tmp_path) -> None:
    def play(worker: FakeWorker) -> None:
        assert worker.module == PREVIEW_WORKER_MODULE
        assert (
            TrainerServicePreviewRequest.FromString((worker.run_dir / REQUEST_FILE).read_bytes()) == REQUEST
        )
        assert WorkerSettings.read(worker.run_dir / "settings.json").wake_socket is None
        (worker.run_dir / ANSWER_FILE).write_bytes(Preview(row_count=9).SerializeToString())

    response = await played(make(), launcher, play)
    assert response.preview.row_count == 9
    assert list((tmp_path / "previews").iterdir()) == []


async def test_a_refusal_keeps_its_reason(make, launcher) -> None:
    def play(worker: FakeWorker) -> None:
        (worker.run_dir / FAILURE_FILE).write_bytes(Failure("INVALID_FIELD", "no such template").pack())

    with pytest.raises(TuneyardError, match="no such template") as failed:
        await played(make(), launcher, play)
    assert failed.value.reason == "INVALID_FIELD"


async def test_a_worker_that_leaves_without_a_word_has_crashed(make, launcher, tmp_path) -> None:
    with pytest.raises(TuneyardError, match="ended unexpectedly") as failed:
        await played(make(), launcher, lambda worker: None)
    assert failed.value.reason == "WORKER_CRASHED"
    assert list((tmp_path / "previews").iterdir()) == []


async def test_a_family_without_previews_and_a_store_that_is_away_launch_nothing(make, launcher) -> None:
    for previews, reason in (
        (make(offered=False), "NOT_SUPPORTED"),
        (make(store_problem=lambda: "the store is away"), "STORE_UNAVAILABLE"),
    ):
        with pytest.raises(TuneyardError) as failed:
            await previews.preview(REQUEST)
        assert failed.value.reason == reason
    assert launcher.launched_none()


async def test_what_cannot_be_launched_or_takes_too_long_is_told(make, launcher) -> None:
    launcher.failures.append(LaunchError("no memory"))
    with pytest.raises(TuneyardError, match="could not be started"):
        await make().preview(REQUEST)
    launcher.hangs = True
    with pytest.raises(TuneyardError, match="took more than") as failed:
        await make(within=timedelta(seconds=0.05)).preview(REQUEST)
    assert failed.value.reason == "TRAINER_UNAVAILABLE"
