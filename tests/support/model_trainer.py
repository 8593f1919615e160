"""A trainer's loaded models without its server: the worker is the real one, in a thread, not a process."""

import asyncio
import hashlib
import io
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_launcher import FakeLauncher
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, StoreSettings
from tuneyard.trainer import inference_worker
from tuneyard.trainer.inference import Inference
from tuneyard.trainer.launcher import Prepare, Worker, WorkerExit
from tuneyard.trainer.loaded_model import InferenceTimes
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.slots import Slots
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.inference_service_pb2 import ClassifyRequest, ClassifyResponse, ImageInput
from tuneyard.v1.trainer_service_pb2 import InferRequest


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


class ModelTrainer:
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
        async with asyncio.timeout(30):
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


async def until_busy(trainer: ModelTrainer, job: str = "a") -> None:
    """Wait until the model has taken up a question."""
    async with asyncio.timeout(30):
        while (model := trainer.models._by_job.get(f"jobs/{job}")) is None or model._current is None:
            await asyncio.sleep(0.002)


async def until_gone(trainer: ModelTrainer) -> None:
    async with asyncio.timeout(30):
        while trainer.models._by_job:
            await asyncio.sleep(0.002)
