"""Converts imported models: their files go from the store through a child process and back into the store.

Knows neither formats nor architectures: the family's module does, in the child (see `convert_child`).
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ChecksumMismatch, ObjectNotFound, ObjectStore
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.launcher import LaunchError, spawn, wait_for
from tuneyard.trainer.process import ProcessIdentity, identify, kill_group
from tuneyard.trainer.transfers import TransferCancelled, Transfers, local_path
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.trainer_service_pb2 import ConvertModelRequest, ConvertModelResponse
from tuneyard.v1.training_pb2 import TaskKind

_log = structlog.get_logger(__name__)

_LIMIT_SECONDS = 1800.0
_STORE_PATIENCE = timedelta(seconds=30)
"""The gateway asks again where the store was away for longer."""
_CHILD = "tuneyard.trainer.convert_child"


class Conversions:
    """Converts one model at a time."""

    def __init__(
        self,
        module: str,
        *,
        folder: Path,
        open_store: Callable[[], ObjectStore],
        environment: Mapping[str, str],
    ) -> None:
        """`module` is the family's, "" if it converts nothing; leftovers in `folder` are deleted."""
        self._module = module
        self._folder = folder
        self._open_store = open_store
        # Without an accelerator: the devices belong to the runs.
        self._environment = {**environment, "CUDA_VISIBLE_DEVICES": ""}
        self._turn = asyncio.Lock()
        shutil.rmtree(folder, ignore_errors=True)

    async def convert(self, request: ConvertModelRequest) -> ConvertModelResponse:
        """The converted model. BASE_MODEL_UNAVAILABLE, STORE_UNAVAILABLE, STORAGE_FULL, NOT_SUPPORTED."""
        if not self._module:
            raise TuneyardError("NOT_SUPPORTED", "this family takes the files of models as they are")
        if not request.prefix.endswith("/"):
            raise invalid("prefix", 'must end with "/"')
        async with self._turn:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                return await self._convert_in(folder, request)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    async def _convert_in(self, folder: Path, request: ConvertModelRequest) -> ConvertModelResponse:
        cancelled = threading.Event()
        transfers = Transfers(
            open_store=self._open_store, patience=_STORE_PATIENCE, is_cancelled=cancelled.is_set
        )
        try:
            await asyncio.to_thread(_fetch, transfers, request, folder)
            answer = await self._run_child(folder)
            model = await asyncio.to_thread(_store, transfers, request, folder, answer)
        except RecipeError as error:
            raise TuneyardError(error.reason, error.message) from error
        finally:
            # A thread cannot be cancelled: it gives up at the next block.
            cancelled.set()
        return model

    async def _run_child(self, folder: Path) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", _CHILD, self._module, str(folder), str(os.getpid())]
        try:
            process = spawn(command, env=self._environment, output=folder / "stderr.log")
        except LaunchError as error:
            raise TuneyardError("TRAINER_UNAVAILABLE", f"no process can be started: {error}") from error
        # The process cannot be reaped before the event loop runs again.
        leader = identify(process.pid) or ProcessIdentity(process.pid, 0)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                code = await wait_for(process)
        except TimeoutError:
            raise TuneyardError(
                "BASE_MODEL_UNAVAILABLE", f"checking the files took more than {_LIMIT_SECONDS:.0f} s"
            ) from None
        finally:
            if process.returncode is None:
                kill_group(leader)
                process.wait()
        try:
            answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
        except (OSError, ValueError):
            told = (folder / "stderr.log").read_bytes()[-2000:].decode(errors="replace")
            _log.warning("conversion ended without an answer", code=code, stderr=told)
            raise TuneyardError("BASE_MODEL_UNAVAILABLE", "the files cannot be read as a model") from None
        if "reason" in answer:
            # NOT_SUPPORTED would say that nothing is converted here: about these files it is a refusal.
            reason = answer["reason"]
            if reason == "NOT_SUPPORTED":
                reason = "BASE_MODEL_UNAVAILABLE"
            raise TuneyardError(reason, answer["message"])
        return answer


def _fetch(transfers: Transfers, request: ConvertModelRequest, folder: Path) -> None:
    """The files as they were received, verified, and what is to be done with them."""
    source = folder / "source"
    source.mkdir()
    (folder / "result").mkdir()
    for file in request.model.files:
        try:
            transfers.download(file.key, local_path(source, file.path), sha256=file.sha256)
        except (ObjectNotFound, ChecksumMismatch, ValueError) as error:
            raise TuneyardError(
                "BASE_MODEL_UNAVAILABLE", f"the stored bytes of {file.path} are not those received"
            ) from error
    wanted = {
        "architecture": request.model.architecture,
        "hub_id": request.hub_id,
        "revision": request.model.revision,
    }
    (folder / "request.json").write_text(json.dumps(wanted))


def _store(
    transfers: Transfers, request: ConvertModelRequest, folder: Path, answer: dict[str, Any]
) -> ConvertModelResponse:
    response = ConvertModelResponse(detail=answer["detail"])
    response.model.architecture = answer["architecture"]
    response.model.revision = answer["revision"] or request.model.revision
    response.model.facts = answer["facts"]
    response.tasks.extend(TaskKind.Value(f"TASK_KIND_{task.upper()}") for task in answer["tasks"])
    result = folder / "result"
    for path in sorted(path for path in result.rglob("*") if path.is_file()):
        name = path.relative_to(result).as_posix()
        try:
            stored = transfers.upload(path, f"{request.prefix}{name}")
        except TransferCancelled:
            raise TuneyardError("SHUTTING_DOWN", "the conversion was given up") from None
        response.model.files.append(
            StoredFile(path=name, key=stored.key, size_bytes=stored.size_bytes, sha256=stored.sha256)
        )
    return response
