"""Loaded models and their devices: the worker is the real one, in a thread instead of a process."""

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.fake_launcher import FakeLauncher
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, StoreSettings
from tuneyard.trainer import inference_worker
from tuneyard.trainer.fake import entry as fake_entry
from tuneyard.trainer.finished_model import FinishedModel
from tuneyard.trainer.inference import Inference
from tuneyard.trainer.launcher import ExecLauncher, LauncherLost, Prepare, Worker, WorkerExit
from tuneyard.trainer.loaded_model import InferenceTimes
from tuneyard.trainer.run_folder import RunKey
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.slots import Slots
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.inference_service_pb2 import (
    ChatTurn,
    ClassifyRequest,
    ClassifyResponse,
    GenerateTextRequest,
    GenerateTextResponse,
    ImageInput,
)
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import InferRequest, ModelSource

DEVICE = SlotKind.SLOT_KIND_DEVICE
RUN = RunKey("jobs/run", 1)


class ThreadLauncher(FakeLauncher):
    """Runs each worker in a thread; like the real ones, it tells of the end."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0

    async def launch(
        self, run_dir: Path, *, env: Mapping[str, str], prepare: Prepare, worker: str = ""
    ) -> Worker:
        launched = await super().launch(run_dir, env=env, prepare=prepare, worker=worker)
        fake = await self.launched()
        self.launches += 1
        loop = asyncio.get_running_loop()

        def work() -> None:
            code = inference_worker.run_worker(run_dir)
            loop.call_soon_threadsafe(lambda: fake.end(WorkerExit(exit_code=code)))

        threading.Thread(target=work, daemon=True).start()
        return launched


class Trainer:
    """The models of a trainer, with a store in which `jobs/a`, `jobs/b` … have their weights."""

    def __init__(
        self,
        root: Path,
        *,
        launcher: FakeLauncher | None = None,
        devices: tuple[str, ...] = ("cpu",),
        **times: timedelta,
    ) -> None:
        self.root = root
        self.launcher = launcher or ThreadLauncher()
        self.slots = Slots(devices, cpu_slots=1)
        self.store = FolderStore(root / "store", public_url="http://127.0.0.1:1")
        self.store_problem = ""
        weights = io.BytesIO()
        np.save(weights, np.ones(4))
        self.weights = weights.getvalue()
        (root / "weights.npy").write_bytes(self.weights)
        self.store.put_file("weights", root / "weights.npy", sha256=hashlib.sha256(self.weights).hexdigest())
        self.models = Inference(
            root / "models",
            methods=("Classify", "GenerateText"),
            slots=self.slots,
            launcher=self.launcher,
            order=self._order,
            store_problem=lambda: self.store_problem,
            times=InferenceTimes(**times),
        )

    @property
    def launches(self) -> int:
        assert isinstance(self.launcher, ThreadLauncher)
        return self.launcher.launches

    def request(
        self, job: str = "a", script: str = "", *, images: int = 1, key: str = "weights", digest: str = ""
    ) -> InferRequest:
        inputs = [ImageInput(name=f"{number}.png", content=bytes([number])) for number in range(images)]
        request = InferRequest(
            job=f"jobs/{job}",
            method="Classify",
            request=ClassifyRequest(job=f"jobs/{job}", images=inputs).SerializeToString(),
            artifacts=[
                StoredFile(
                    path="weights.npy",
                    key=key,
                    size_bytes=len(self.weights),
                    sha256=digest or hashlib.sha256(self.weights).hexdigest(),
                )
            ],
        )
        request.spec.training.base_model = f"fake:{script}"
        return request

    async def ask(self, job: str = "a", script: str = "", **options: object) -> ClassifyResponse:
        async with asyncio.timeout(10):
            request = self.request(job, script, **options)  # type: ignore[arg-type]
            [answer] = [piece async for piece in self.models.infer(request)]
        return ClassifyResponse.FromString(answer)

    async def refusal(self, job: str = "a", script: str = "", **options: object) -> TuneyardError:
        with pytest.raises(TuneyardError) as refused:
            await self.ask(job, script, **options)
        return refused.value

    def _order(self, device: str) -> WorkOrder:
        settings = WorkerSettings(
            family_entry="tuneyard.trainer.fake.entry",
            device=device,
            cpu_threads=1,
            store_url=str(self.root / "store"),
            store=StoreSettings(),
            cache_dir=self.root / "cache",
            cache_limit_bytes=0,
            wake_socket=None,
            parent_pid=0,
        )
        return WorkOrder(settings=settings, env={"NAME": "value"})


@pytest.fixture
async def trainer(tmp_path: Path) -> AsyncIterator[Trainer]:
    trainer = Trainer(tmp_path)
    yield trainer
    await trainer.models.close()


async def until_busy(trainer: Trainer, job: str = "a") -> None:
    """Wait until the model has taken up a question."""
    async with asyncio.timeout(10):
        while (model := trainer.models._by_job.get(f"jobs/{job}")) is None or model._current is None:
            await asyncio.sleep(0.002)


async def until_gone(trainer: Trainer) -> None:
    async with asyncio.timeout(10):
        while trainer.models._by_job:
            await asyncio.sleep(0.002)


async def test_a_model_is_loaded_once_and_answers_again_and_again(trainer: Trainer) -> None:
    first = await trainer.ask()
    assert [each.name for each in first.classifications] == ["0.png"]
    assert await trainer.ask() == first
    assert trainer.launches == 1


async def test_callers_at_the_same_time_are_answered_one_after_the_other(trainer: Trainer) -> None:
    answers = await asyncio.gather(*(trainer.ask(images=number) for number in range(1, 6)))
    assert [len(answer.classifications) for answer in answers] == [1, 2, 3, 4, 5]
    assert trainer.launches == 1


async def test_the_pieces_of_a_stream_come_as_they_are_made(trainer: Trainer) -> None:
    turns = [ChatTurn(role="user", content="one two three")]
    request = trainer.request()
    request.method, request.request = "GenerateText", GenerateTextRequest(messages=turns).SerializeToString()
    pieces = [GenerateTextResponse.FromString(piece) async for piece in trainer.models.infer(request)]
    assert [(piece.text, piece.done) for piece in pieces] == [
        ("one ", False),
        ("two ", False),
        ("three ", True),
    ]


async def test_the_worker_is_told_where_it_works_and_its_folder_goes_with_it(trainer: Trainer) -> None:
    await trainer.ask()
    [folder] = (trainer.root / "models").iterdir()
    settings = WorkerSettings.read(folder / "settings.json")
    assert (settings.device, settings.parent_pid, settings.wake_socket) == ("cpu", 1, None)
    await trainer.models.close()
    assert not list((trainer.root / "models").iterdir())


async def test_an_unused_model_is_unloaded_and_the_next_call_loads_it_again(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, idle=timedelta(seconds=0.05))
    await trainer.ask()
    await until_gone(trainer)
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]
    trainer.slots.dismiss(trainer.slots._places[0].guest)  # type: ignore[arg-type]
    assert (await trainer.ask()).classifications
    assert trainer.launches == 2
    await trainer.models.close()


async def test_a_run_gets_the_device_and_the_caller_hears_why(trainer: Trainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "answer_ms=60000"))
    await until_busy(trainer)
    assert trainer.slots.acquire(DEVICE, RUN) == "cpu"
    guest = trainer.slots.guest_of(RUN)
    assert guest is not None
    await asyncio.wait_for(guest.leave(), timeout=5)
    error = await asked
    assert (error.reason, error.resource) == ("NO_FREE_SLOT", "jobs/a")
    assert error.retry_after is not None
    assert trainer.slots.guest_of(RUN) is None


async def test_a_model_that_is_still_loading_leaves_at_once_too(trainer: Trainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "load_ms=300"))
    async with asyncio.timeout(5):
        while not trainer.slots._places[0].guest:
            await asyncio.sleep(0)
    trainer.slots.acquire(DEVICE, RUN)
    await trainer.slots.guest_of(RUN).leave()  # type: ignore[union-attr]
    assert (await asked).reason == "NO_FREE_SLOT"


async def test_where_a_run_has_the_device_its_job_is_named(trainer: Trainer) -> None:
    trainer.slots.acquire(DEVICE, RUN)
    error = await trainer.refusal()
    assert (error.reason, "cpu runs jobs/run" in error.message) == ("NO_FREE_SLOT", True)
    assert error.retry_after is not None
    trainer.slots.release(RUN)
    assert (await trainer.ask()).classifications


async def test_two_devices_hold_a_run_and_a_model(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, devices=("cpu", "cpu"))
    trainer.slots.acquire(DEVICE, RUN)
    assert (await trainer.ask()).classifications
    await trainer.models.close()


async def test_the_model_unused_for_longest_makes_room_for_another(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, devices=("cpu", "cpu"))
    for job in ("a", "b", "a", "c"):
        await trainer.ask(job)
    assert {model.job for model in trainer.models._seated} == {"jobs/a", "jobs/c"}
    await trainer.models.close()


async def test_a_model_at_work_makes_no_room(trainer: Trainer) -> None:
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=400"))
    await until_busy(trainer)
    error = await trainer.refusal("b")
    assert (error.reason, "jobs/a is being tried" in error.message) == ("NO_FREE_SLOT", True)
    assert (await asked).classifications


async def test_what_is_wrong_with_an_image_is_a_violation(trainer: Trainer) -> None:
    request = trainer.request()
    images = [ImageInput(name="a.png", content=b"1"), ImageInput(name="b.txt", content=b"not an image")]
    request.request = ClassifyRequest(images=images).SerializeToString()
    with pytest.raises(TuneyardError) as refused:
        async for _ in trainer.models.infer(request):
            pass
    [violation] = refused.value.violations
    assert (refused.value.reason, violation.field) == ("INVALID_FIELD", "images[1].content")
    assert (await trainer.ask()).classifications
    assert trainer.launches == 1


async def test_a_fault_of_the_model_is_told_without_paths_and_the_model_stays(trainer: Trainer) -> None:
    error = await trainer.refusal("a", "answer_fail=1")
    assert error.reason == "RECIPE_FAILED"
    assert "ValueError" in error.message and "/srv" not in error.message
    assert (await trainer.refusal("a", "answer_fail=1")).reason == "RECIPE_FAILED"
    assert trainer.launches == 1


async def test_a_model_that_cannot_be_loaded_says_why_each_time(trainer: Trainer) -> None:
    for _ in range(2):
        error = await trainer.refusal("a", "load_fail=1")
        assert (error.reason, error.message) == (
            "RECIPE_FAILED",
            "The script says that the model cannot be loaded.",
        )
    assert trainer.launches == 2


async def test_files_that_are_gone_or_changed_in_the_store_are_told(trainer: Trainer) -> None:
    assert (await trainer.refusal("a", key="nothing")).reason == "ARTIFACT_NOT_FOUND"
    assert (await trainer.refusal("b", digest="0" * 64)).reason == "CHECKSUM_MISMATCH"


async def test_who_leaves_early_ends_the_answer_and_not_the_model(trainer: Trainer) -> None:
    async with aclosing(trainer.models.infer(trainer.request("a", "answer_ms=60000"))) as pieces:
        asking = asyncio.create_task(anext(pieces))
        await until_busy(trainer)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    async with asyncio.timeout(5):
        while trainer.models._by_job["jobs/a"].is_busy:
            await asyncio.sleep(0.002)
    assert trainer.launches == 1
    assert trainer.models._by_job["jobs/a"].is_open


async def test_who_leaves_while_waiting_is_not_answered(trainer: Trainer) -> None:
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=300"))
    await until_busy(trainer)
    second = asyncio.create_task(trainer.ask("a"))
    await asyncio.sleep(0)
    assert len(trainer.models._by_job["jobs/a"]._waiting) == 1
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not trainer.models._by_job["jobs/a"]._waiting
    assert (await asked).classifications


async def test_a_model_that_goes_on_with_a_cancelled_answer_is_ended(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, cancel_grace=timedelta(seconds=0.05))
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=400,answer_ignore_cancel=1"))
    await until_busy(trainer)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until_gone(trainer)
    assert (await trainer.ask()).classifications
    await trainer.models.close()


async def test_more_callers_than_can_wait_are_turned_away(trainer: Trainer) -> None:
    calls = [asyncio.create_task(trainer.ask("a", "answer_ms=60000"))]
    await until_busy(trainer)
    calls += [asyncio.create_task(trainer.ask("a")) for _ in range(16)]
    await asyncio.sleep(0)
    assert (await trainer.refusal("a")).reason == "TOO_MANY_REQUESTS"
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    ("exit", "reason"),
    [
        (WorkerExit(signal=9), "WORKER_KILLED"),
        (WorkerExit(signal=9, out_of_memory=True), "OUT_OF_MEMORY"),
        (WorkerExit(exit_code=1), "WORKER_CRASHED"),
        (WorkerExit(lost=True), "TRAINER_UNAVAILABLE"),
    ],
)
async def test_a_process_that_ends_is_told_and_started_anew(
    tmp_path: Path, exit: WorkerExit, reason: str
) -> None:
    launcher = FakeLauncher()
    trainer = Trainer(tmp_path, launcher=launcher)
    for _ in range(2):
        asked = asyncio.create_task(trainer.refusal())
        (await launcher.launched()).end(exit)
        assert (await asked).reason == reason


async def test_a_launch_that_fails_leaves_the_device_free(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.failures.append(LauncherLost("gone"))
    trainer = Trainer(tmp_path, launcher=launcher)
    error = await trainer.refusal()
    assert (error.reason, error.retry_after is not None) == ("TRAINER_UNAVAILABLE", True)
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]


async def test_a_stopping_trainer_tells_its_callers(trainer: Trainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "answer_ms=60000"))
    await until_busy(trainer)
    await asyncio.wait_for(trainer.models.close(), timeout=5)
    assert (await asked).reason == "SHUTTING_DOWN"
    assert (await trainer.refusal()).reason == "SHUTTING_DOWN"


async def test_a_method_that_the_family_does_not_serve_says_so(trainer: Trainer) -> None:
    request = trainer.request()
    request.method = "GenerateImages"
    with pytest.raises(TuneyardError, match="NOT_SUPPORTED"):
        await anext(trainer.models.infer(request))


async def test_without_a_store_nothing_is_loaded(trainer: Trainer) -> None:
    trainer.store_problem = "the store is a folder, and it is not on this machine"
    assert (await trainer.refusal()).reason == "STORE_UNAVAILABLE"


@pytest.mark.integration
async def test_a_cold_process_answers_too_and_is_gone_when_it_leaves(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, launcher=ExecLauncher(environment=os.environ))
    assert (await trainer.ask()).classifications
    worker = trainer.models._by_job["jobs/a"]
    [process] = [
        child for child in psutil.Process().children() if "inference_worker" in " ".join(child.cmdline())
    ]
    await worker.leave()
    assert not process.is_running()
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]


def test_the_worker_never_imports_grpc() -> None:
    program = "import sys, tuneyard.trainer.inference_worker; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_the_base_model_is_fetched_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FinishedModel] = []
    open_model = fake_entry.open_model
    monkeypatch.setattr(fake_entry, "open_model", lambda model: (opened.append(model), open_model(model))[1])
    trainer = Trainer(tmp_path)
    request = trainer.request()
    request.model.CopyFrom(ModelSource(name="models/base", sha256="b" * 64, files=request.artifacts))
    assert [piece async for piece in trainer.models.infer(request)]
    [model] = opened
    assert model.base_sha256 == "b" * 64
    assert not (tmp_path / "cache" / "models" / ("b" * 64)).exists()
    base = model.base()
    assert base is not None
    assert (base / "weights.npy").read_bytes() == trainer.weights
    await trainer.models.close()


async def test_a_model_without_a_base_of_the_store_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FinishedModel] = []
    open_model = fake_entry.open_model
    monkeypatch.setattr(fake_entry, "open_model", lambda model: (opened.append(model), open_model(model))[1])
    trainer = Trainer(tmp_path)
    await trainer.ask()
    assert (opened[0].base(), opened[0].base_sha256) == (None, "")
    await trainer.models.close()
