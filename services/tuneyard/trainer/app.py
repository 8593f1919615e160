"""A trainer as a program: everything is made and joined here, read from top to bottom."""

import asyncio
import gc
import signal
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial

import structlog
import uvloop

from tuneyard.rpc.log import configure_logging
from tuneyard.rpc.server import ListenError, RpcServer
from tuneyard.storage import ObjectStore, StoreUnavailable, open_store
from tuneyard.trainer.config import TrainerConfig
from tuneyard.trainer.conversions import Conversions
from tuneyard.trainer.data_folder import DataFolder, DataFolderError
from tuneyard.trainer.description import Description, store_problem
from tuneyard.trainer.devices import DeviceError, Devices, usable_cores
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.inference import Inference
from tuneyard.trainer.launcher import WORKER_MODULE
from tuneyard.trainer.loaded_model import INFERENCE_WORKER_MODULE, InferenceTimes
from tuneyard.trainer.previews import PREVIEW_WORKER_MODULE, Previews
from tuneyard.trainer.runs import Runs
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.servicer import Servicer
from tuneyard.trainer.settings import WorkerSettings, thread_environment
from tuneyard.trainer.slots import Slots
from tuneyard.trainer.wakes import Wakes
from tuneyard.trainer.warm_launcher import WarmLauncher
from tuneyard.v1.trainer_service_pb2_grpc import add_TrainerServiceServicer_to_server

_log = structlog.get_logger(__name__)

_SERVICE = "tuneyard.v1.TrainerService"
_REFRESH_SECONDS = 5.0
_STOP_GRACE = timedelta(seconds=0.5)
_MAX_MESSAGE_BYTES = 48 << 20
"""More than a gateway takes, since it passes what it took on with something added."""


def serve(family: TrainerFamily, config: TrainerConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises SystemExit with a sentence where it cannot start.

    From the main thread, which must outlive the warm server.
    """
    configure_logging(config.log_format, level=config.log_level)
    try:
        uvloop.run(_serve(family, config))
    except (ListenError, DataFolderError, DeviceError) as error:
        raise SystemExit(f"the {config.family} trainer cannot start: {error}") from error


async def _serve(family: TrainerFamily, config: TrainerConfig) -> None:
    async with AsyncExitStack() as stack:
        data = DataFolder.open(config.data_dir, new_id=str(uuid.uuid4()))
        stack.callback(data.close)
        devices = await asyncio.to_thread(Devices, config.devices, visible=config.visible_devices)
        slots = Slots(devices.names, cpu_slots=config.cpu_slots)
        wakes = Wakes(data.wake_socket())
        stack.callback(wakes.close)
        launcher = WarmLauncher(
            preload=(WORKER_MODULE, INFERENCE_WORKER_MODULE, PREVIEW_WORKER_MODULE, family.entry),
            log_path=data.warm_log,
            environment=config.worker_environment,
        )
        stack.push_async_callback(launcher.close)
        order = _orders(family, config, data=data, devices=devices, wakes=wakes)

        def problem_of_store() -> str:
            return store_problem(config.store_url)

        runs = Runs(
            data,
            slots=slots,
            launcher=launcher,
            wakes=wakes,
            order=lambda request, device: order(device, request.spec.training.resources.cpu_threads),
            store_problem=problem_of_store,
        )
        inference = Inference(
            data.path / "inference",
            methods=family.methods,
            slots=slots,
            launcher=launcher,
            order=lambda device: order(device, 0),
            store_problem=problem_of_store,
            times=InferenceTimes(idle=config.inference_idle),
        )
        previews = Previews(
            data.path / "previews",
            offered=family.previews,
            launcher=launcher,
            order=lambda: order("cpu", 0),
            store_problem=problem_of_store,
        )
        await runs.recover()
        await launcher.start()
        description = Description(
            family,
            data=data,
            devices=devices,
            slots=slots,
            launcher=launcher,
            runs=runs,
            store_url=config.store_url,
            boot_id=str(uuid.uuid4()),
        )
        conversions = Conversions(
            family.convert,
            folder=data.path / "conversions",
            open_store=partial(_open_store, config),
            environment=config.worker_environment,
        )
        server = RpcServer(
            listen=config.listen, token=config.token or None, max_message_bytes=_MAX_MESSAGE_BYTES
        )
        add_TrainerServiceServicer_to_server(
            Servicer(
                family,
                runs=runs,
                inference=inference,
                previews=previews,
                conversions=conversions,
                description=description,
            ),
            server.grpc,
        )
        address = await server.start([_SERVICE])
        # The runs end first: their watchers are to hear of it before their streams are cut.
        stack.push_async_callback(server.stop, grace=_STOP_GRACE)
        stack.push_async_callback(runs.close)
        stack.push_async_callback(inference.close)
        stack.callback(asyncio.create_task(_refresh(devices)).cancel)
        # What was loaded stays: looking through it for garbage would keep events waiting.
        gc.collect()
        gc.freeze()
        _log.info("trainer ready", address=address, trainer=data.trainer_id, devices=list(devices.names))
        if problem := problem_of_store():
            _log.warning("no jobs until the store is there", problem=problem)
        await _stop_signal()
        _log.info("trainer stops")


def _open_store(config: TrainerConfig) -> ObjectStore:
    if problem := store_problem(config.store_url):
        raise StoreUnavailable(problem)
    return open_store(config.store_url, settings=config.store)


def _orders(
    family: TrainerFamily, config: TrainerConfig, *, data: DataFolder, devices: Devices, wakes: Wakes
) -> Callable[[str, int], WorkOrder]:
    """Tells what a worker on a device is launched with, and with how many threads if that was asked for."""
    share = max(1, usable_cores() // len(devices.names))

    def order(device: str, asked_threads: int) -> WorkOrder:
        threads = asked_threads or share
        settings = WorkerSettings(
            family_entry=family.entry,
            device=device,
            cpu_threads=threads,
            store_url=config.store_url,
            store=config.store,
            cache_dir=data.cache,
            cache_limit_bytes=config.cache_limit_bytes,
            wake_socket=wakes.path,
            parent_pid=0,
            accelerators=tuple(name for name in devices.names if name != "cpu"),
            silence_warning=config.silence_warning,
            faults=config.faults,
        )
        return WorkOrder(
            settings=settings,
            env={**thread_environment(threads), **devices.environment(device)},
            silence_limit=config.silence_limit,
        )

    return order


async def _refresh(devices: Devices) -> None:
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        with suppress(Exception):
            await asyncio.to_thread(devices.refresh)


async def _stop_signal() -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
