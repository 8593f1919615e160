"""Checkpoints of a run: written at once, uploaded in the background, recorded when the store has every file.

What is in a checkpoint is the recipe's business. Which older ones are given up is decided here; their bytes
are deleted by the gateway.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuneyard.storage import ChecksumMismatch, ObjectNotFound
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import LoadedCheckpoint
from tuneyard.trainer.transfers import (
    StoredBytes,
    Transfers,
    disk_full_is_told,
    local_path,
)


@dataclass(frozen=True)
class CheckpointKey:
    """Which checkpoint of a job: the attempt that saved it and the steps done."""

    attempt: int
    step: int


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint whose bytes are kept so far."""

    key: CheckpointKey
    best: bool


@dataclass(frozen=True)
class KeepPolicy:
    """Which checkpoints are kept: the newest so many, and the best."""

    keep_last: int = 2
    keep_best: bool = True

    def superseded(self, kept: Sequence[KeptCheckpoint]) -> list[KeptCheckpoint]:
        """Those to give up, of all that are kept, oldest first; of several best ones the last is the best."""
        keep = set(kept[-self.keep_last :])
        if self.keep_best:
            keep.update([checkpoint for checkpoint in kept if checkpoint.best][-1:])
        return [checkpoint for checkpoint in kept if checkpoint not in keep]


@dataclass(frozen=True)
class CheckpointFile:
    """A file of a checkpoint: its path in the folder and its bytes in the store."""

    path: str
    stored: StoredBytes


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint whose files are all in the store."""

    key: CheckpointKey
    epoch: float
    metrics: Mapping[str, float]
    best: bool
    files: tuple[CheckpointFile, ...] = ()
    superseded: tuple[CheckpointKey, ...] = ()


class CheckpointSaver:
    """Saves the checkpoints of one attempt: one at a time is uploaded, the next save waits for it.

    `record` is called, in the uploading thread, once a checkpoint is complete; it exists from then on.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: str,
        transfers: Transfers,
        record: Callable[[StoredCheckpoint], None],
        policy: KeepPolicy,
        kept: Sequence[KeptCheckpoint] = (),
    ) -> None:
        """`folder` is for files on their way, `prefix` where the attempt stores; `kept` is oldest first."""
        self._folder = folder
        self._prefix = prefix
        self._transfers = transfers
        self._record = record
        self._policy = policy
        self._kept = list(kept)
        self._void: list[KeptCheckpoint] = []
        self._saves: Counter[int] = Counter()
        self._latest: StoredCheckpoint | None = None
        self._upload: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._saving = threading.Lock()

    @property
    def stored_step(self) -> int:
        """The step of the newest checkpoint that is stored, by whichever attempt; 0 if there is none."""
        return self._kept[-1].key.step if self._kept else 0

    def save(self, checkpoint: StoredCheckpoint, write: Callable[[Path], None], *, wait: bool) -> None:
        """Calls `write` with an empty folder and uploads what it wrote; see `Run.save_checkpoint`.

        Raises TransferCancelled where the run is cancelled meanwhile.
        """
        with self._saving:
            if self._is_saved(checkpoint):
                if wait:
                    self.drain()
                return
            folder = self._folder / f"{checkpoint.key.step:010d}"
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with disk_full_is_told():
                    folder.mkdir(parents=True)
                    write(folder)
                self.drain()
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._latest = checkpoint
            self._upload = threading.Thread(
                target=self._store, args=(checkpoint, folder), name="checkpoint-upload", daemon=True
            )
            self._upload.start()
            if wait:
                self.drain()

    def go_back(self, step: int) -> None:
        """Makes the checkpoints beyond a step void: the next one that is stored takes their place.

        The step itself may be saved again, with other bytes than before. Raises what `drain` does.
        """
        with self._saving:
            self.drain()
            self._void += [checkpoint for checkpoint in self._kept if checkpoint.key.step > step]
            self._kept = [checkpoint for checkpoint in self._kept if checkpoint.key.step <= step]
            self._latest = None

    def drain(self, *, timeout_seconds: float | None = None) -> bool:
        """Waits for the upload under way; raises what it, or the one before it, failed with.

        Returns False where it takes longer than the timeout.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self._upload is not None:
            self._upload.join(0.1)
            if not self._upload.is_alive():
                self._upload = None
            elif deadline is not None and time.monotonic() > deadline:
                return False
        if self._failure is not None:
            raise self._failure
        return True

    def _is_saved(self, checkpoint: StoredCheckpoint) -> bool:
        """True for a step that is stored or on its way: its keys must not get other bytes.

        Only that it is the best may be news, and is then recorded of the same bytes.
        """
        latest = self._latest
        if latest is None or latest.key != checkpoint.key:
            return False
        if checkpoint.best and not latest.best:
            self.drain()
            self._finish(replace(self._latest or latest, best=True, metrics=checkpoint.metrics))
        return True

    def _store(self, checkpoint: StoredCheckpoint, folder: Path) -> None:
        try:
            files = []
            step = checkpoint.key.step
            self._saves[step] += 1
            # What is recorded keeps its bytes until the record of the new ones is there.
            again = f"-{self._saves[step]}" if self._saves[step] > 1 else ""
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = path.relative_to(folder).as_posix()
                key = f"{self._prefix}checkpoints/{step:010d}{again}/{name}"
                files.append(CheckpointFile(name, self._transfers.upload(path, key)))
            self._finish(replace(checkpoint, files=tuple(files)))
        except BaseException as error:
            self._failure = error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, checkpoint: StoredCheckpoint) -> None:
        kept = [k for k in self._kept if k.key != checkpoint.key]
        kept.append(KeptCheckpoint(checkpoint.key, checkpoint.best))
        void = [k for k in self._void if k.key != checkpoint.key]
        superseded = void + self._policy.superseded(kept)
        self._record(replace(checkpoint, superseded=tuple(old.key for old in superseded)))
        self._kept = [k for k in kept if k not in superseded]
        self._void = []
        self._latest = checkpoint


def load_checkpoint(checkpoint: StoredCheckpoint, folder: Path, *, transfers: Transfers) -> LoadedCheckpoint:
    """Fetches a checkpoint's files into a folder and proves each by its SHA-256.

    Raises RecipeError CHECKPOINT_CORRUPT, or what `Transfers.download` does.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with disk_full_is_told():
        folder.mkdir(parents=True)
    for file in checkpoint.files:
        try:
            path = local_path(folder, file.path)
            transfers.download(file.stored.key, path, sha256=file.stored.sha256)
        except (ChecksumMismatch, ObjectNotFound, ValueError) as error:
            raise RecipeError(
                f"The checkpoint of step {checkpoint.key.step} is damaged: "
                f"{file.path!r} does not have the bytes that were recorded.",
                reason="CHECKPOINT_CORRUPT",
                remedies=("Rerun the job from the beginning.", "Check the object store's disks."),
            ) from error
    return LoadedCheckpoint(
        dir=folder,
        attempt=checkpoint.key.attempt,
        step=checkpoint.key.step,
        epoch=checkpoint.epoch,
        metrics=dict(checkpoint.metrics),
    )
