"""A gateway as a program: everything is made and joined here, read from top to bottom."""

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import structlog
import uvloop
from sqlalchemy.engine import make_url

from tuneyard.gateway.artifacts import ArtifactLibrary
from tuneyard.gateway.blob_listener import BlobListener
from tuneyard.gateway.check_process import ValidationLimits
from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.config import GatewayConfig
from tuneyard.gateway.controller import Controller, ControllerSettings
from tuneyard.gateway.dataset_files import DatasetFiles
from tuneyard.gateway.dataset_library import DatasetLibrary
from tuneyard.gateway.datasets import DatasetRepository
from tuneyard.gateway.db import Database
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.ids import new_id
from tuneyard.gateway.inference import Inference
from tuneyard.gateway.intake import JobIntake
from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.memory import limit_arenas
from tuneyard.gateway.merged_models import MergedModels
from tuneyard.gateway.metrics import Metrics
from tuneyard.gateway.model_imports import ModelImports
from tuneyard.gateway.model_library import ModelLibrary
from tuneyard.gateway.model_uploads import ModelUploads
from tuneyard.gateway.models import ModelRepository
from tuneyard.gateway.other_gateways import OtherGateways
from tuneyard.gateway.resolver import Resolver
from tuneyard.gateway.server_info import ServerInfo
from tuneyard.gateway.servicers import training_service
from tuneyard.gateway.servicers.artifact_service import ArtifactServicer
from tuneyard.gateway.servicers.dataset_service import DatasetServicer
from tuneyard.gateway.servicers.inference_service import InferenceServicer
from tuneyard.gateway.servicers.model_service import ModelServicer
from tuneyard.gateway.servicers.system_service import SystemServicer
from tuneyard.gateway.sole_gateway import DatabaseInUse, SoleGateway
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_errors import translate
from tuneyard.gateway.sweeper import Sweeper
from tuneyard.gateway.trainers import Trainers
from tuneyard.gateway.uploads import DatasetUploads
from tuneyard.gateway.validation import Validator
from tuneyard.gateway.watch import WatchHub
from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.log import configure_logging
from tuneyard.rpc.server import ListenError, RpcServer, is_loopback
from tuneyard.storage import FolderStore, ObjectStore, StorageError, open_store
from tuneyard.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from tuneyard.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tuneyard.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tuneyard.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from tuneyard.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server

log = structlog.get_logger(__name__)

SERVICES: Final = tuple(
    f"tuneyard.v1.{name}Service"
    for name in ("Training", "Dataset", "Model", "Artifact", "Inference", "System")
)
_STOP_GRACE: Final = timedelta(seconds=1)
_LAST_WORD_SECONDS: Final = 1.0


def run(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises SystemExit with a sentence where it cannot start."""
    configure_logging(config.log_format, level=config.log_level)
    limit_arenas()
    try:
        uvloop.run(_until_signal(config))
    except (ListenError, DatabaseInUse, StorageError, TuneyardError, ValueError, RuntimeError) as error:
        raise SystemExit(f"the gateway cannot start: {error}") from error


async def _until_signal(config: GatewayConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        gateway = await Gateway.start(config, stack)
        # What was loaded stays: looking through it for garbage took 70 ms every other second under load.
        gc.collect()
        gc.freeze()
        log.info("gateway ready", address=gateway.address, blobs=gateway.blob_address)
        background = asyncio.create_task(gateway.run())
        await asyncio.wait(
            [background, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("gateway stops")
        await gateway.stop()
        if background.done():
            background.result()
        background.cancel()
        await asyncio.wait([background])
    _leave_soon()


def _leave_soon() -> None:
    """End the process even if a thread still copies bytes: what it does was promised to nobody."""
    timer = threading.Timer(_LAST_WORD_SECONDS, os._exit, [0])
    timer.daemon = True
    timer.start()


class Gateway:
    """A running gateway: what serves, and what works behind it."""

    def __init__(
        self,
        *,
        server: RpcServer,
        address: str,
        blobs: BlobListener | None,
        controller: Controller,
        background: Iterable[Callable[[], Coroutine[Any, Any, None]]],
    ) -> None:
        self.address = address
        self.blob_address = blobs.address if blobs else None
        self.controller = controller
        self._server = server
        self._blobs = blobs
        self._background = tuple(background)

    @classmethod
    async def start(cls, config: GatewayConfig, stack: AsyncExitStack) -> Self:
        """Build everything and serve. The stack closes what must outlive the last call."""
        db = await _open_database(config, stack)
        blobs, store = await _open_store(config)
        trainers = Trainers(config.trainers, token=config.token)
        stack.push_async_callback(trainers.close)

        hub: WatchHub
        jobs = JobRepository(
            db,
            clock=utc_now,
            new_id=new_id,
            # The hub reads from the jobs, so it comes after them.
            on_commit=lambda committed: hub.on_commit(committed),  # noqa: PLW0108
            on_delete=lambda name: hub.on_delete(name),  # noqa: PLW0108
            max_lost_attempts=config.max_lost_attempts,
        )
        hub = WatchHub(jobs)
        datasets = DatasetRepository(db)
        models = ModelRepository(db)
        resolver = Resolver(trainers=trainers, datasets=datasets, models=models, jobs=jobs)
        controller = Controller(
            jobs=jobs,
            trainers=trainers,
            resolver=resolver,
            holder=f"{socket.gethostname()}:{os.getpid()}:{new_id()}",
            settings=ControllerSettings(trainer_lease=config.trainer_lease),
        )
        trainers.on_change = controller.poke
        trainers.epoch = lambda: controller.epoch if controller.is_leader else 0

        def is_leader() -> bool:
            return controller.is_leader

        work_dir = config.data_dir / "work"
        sources = ImportSources(store, store_url=config.store, roots=config.import_roots)
        validator = Validator(
            datasets,
            store,
            sources,
            work_dir=work_dir / "validation",
            is_leader=is_leader,
            on_change=lambda name: controller.poke(),
            limits=ValidationLimits(
                concurrent=config.validation_processes,
                memory_bytes=config.validation_memory_bytes,
                cpu_time=config.validation_time,
                wall_time=config.validation_time,
            ),
        )
        uploads = DatasetUploads(datasets, store, on_arrival=validator.poke)
        dataset_library = DatasetLibrary(
            repository=datasets,
            uploads=uploads,
            sources=sources,
            validator=validator,
            new_id=new_id,
        )
        dataset_files = DatasetFiles(repository=datasets, store=store)
        merged = MergedModels(jobs=jobs, models=models, store=store, sources=sources, is_leader=is_leader)
        imports = ModelImports(
            repository=models,
            store=store,
            sources=sources,
            trainers=trainers,
            merged=merged,
            is_leader=is_leader,
            new_id=new_id,
            work_dir=work_dir / "models",
        )
        model_uploads = ModelUploads(models, store, on_arrival=imports.poke)
        model_library = ModelLibrary(
            repository=models,
            store=store,
            sources=sources,
            trainers=trainers,
            imports=imports,
            uploads=model_uploads,
            work_dir=work_dir / "models",
        )
        intake = JobIntake(
            db=db,
            jobs=jobs,
            resolver=resolver,
            datasets=datasets,
            trainers=trainers,
            merged=merged,
            on_change=controller.poke,
        )
        info = ServerInfo(
            version=version("tuneyard"),
            database_kind=db.dialect,
            store_folder=_folder_of(config.store) if isinstance(store, FolderStore) else None,
            auth_required=bool(config.token),
            trainers=trainers,
            is_controller=is_leader,
            controller_epoch=lambda: controller.epoch,
        )

        server = RpcServer(listen=config.listen, token=config.token or None, translate=translate)
        training_service.add_to_server(
            training_service.TrainingServicer(
                intake=intake, jobs=jobs, hub=hub, metrics=Metrics(jobs), on_intent=controller.poke
            ),
            server.grpc,
        )
        add_DatasetServiceServicer_to_server(DatasetServicer(dataset_library, dataset_files), server.grpc)
        add_ModelServiceServicer_to_server(ModelServicer(model_library), server.grpc)
        add_ArtifactServiceServicer_to_server(
            ArtifactServicer(ArtifactLibrary(jobs=jobs, store=store)), server.grpc
        )
        add_InferenceServiceServicer_to_server(
            InferenceServicer(Inference(jobs=jobs, models=models, trainers=trainers)), server.grpc
        )
        add_SystemServiceServicer_to_server(SystemServicer(trainers=trainers, info=info), server.grpc)
        address = await server.start(SERVICES)
        sweeper = Sweeper(
            garbage=GarbageRepository(db),
            jobs=jobs,
            store=store,
            uploads=(uploads, model_uploads),
            is_leader=is_leader,
        )
        others = OtherGateways(db=db, hub=hub, on_change=controller.poke)
        return cls(
            server=server,
            address=address,
            blobs=blobs,
            controller=controller,
            background=[
                controller.run,
                trainers.run,
                validator.run,
                imports.run,
                merged.run,
                sweeper.run,
                others.run,
            ],
        )

    async def run(self) -> None:
        """Do the work behind the calls until cancelled; a fault in it ends the gateway."""
        async with asyncio.TaskGroup() as group:
            for work in self._background:
                group.create_task(work())

    async def stop(self) -> None:
        """Serve no more, and let another gateway lead."""
        blobs = self._blobs.stop() if self._blobs else asyncio.sleep(0)
        await asyncio.gather(self._server.stop(grace=_STOP_GRACE), blobs)
        await self.controller.step_down()


async def _open_database(config: GatewayConfig, stack: AsyncExitStack) -> Database:
    path = make_url(config.database).database
    if config.database.startswith("sqlite") and path:
        stack.callback(SoleGateway(Path(path)).release)
    db = Database.open(config.database)
    stack.push_async_callback(db.close)
    await db.migrate()
    return db


async def _open_store(config: GatewayConfig) -> tuple[BlobListener | None, ObjectStore]:
    """The store, and, for a folder, the listener of its signed URLs."""
    settings = config.store_settings
    if config.store.startswith("s3://"):
        return None, await asyncio.to_thread(open_store, config.store, settings=settings)
    if not config.token and not is_loopback(config.blob_listen):
        raise ListenError(
            f"{config.blob_listen} can be reached from other machines: set TUNEYARD_TOKEN, "
            "or TUNEYARD_BLOB_LISTEN to 127.0.0.1"
        )
    blobs = BlobListener(config.blob_listen)
    settings = replace(settings, public_url=config.blob_url or f"http://{blobs.address}")
    store = await asyncio.to_thread(open_store, config.store, settings=settings)
    assert isinstance(store, FolderStore)
    blobs.start(store)
    return blobs, store


def _folder_of(store_url: str) -> Path:
    return Path(unquote(urlsplit(store_url).path)) if "://" in store_url else Path(store_url)
