"""What a run starts from, as local files: datasets, the base model's files, a finished job's artifacts.

Everything is named by key and SHA-256 in the request, and proved by it here.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tuneyard.datasets import ArchiveError, Cancelled, FormatNotSupported, prepare
from tuneyard.storage import ChecksumMismatch, ObjectNotFound
from tuneyard.trainer.cache import Cache
from tuneyard.trainer.errors import Reason, RecipeError, no_source_artifacts
from tuneyard.trainer.records import dataset_format, dataset_report
from tuneyard.trainer.run import DatasetFiles
from tuneyard.trainer.transfers import TransferCancelled, Transfers, local_path
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.trainer_service_pb2 import DatasetSource, ModelSource


class Inputs:
    """Fetches into the trainer's cache, once for all runs."""

    def __init__(self, cache: Cache, *, transfers: Transfers, should_stop: Callable[[], bool]) -> None:
        """`should_stop` ends the unpacking of an archive with TransferCancelled."""
        self._cache = cache
        self._transfers = transfers
        self._should_stop = should_stop

    def dataset(self, source: DatasetSource) -> DatasetFiles:
        """The unpacked dataset; raises RecipeError, TransferCancelled."""
        report = dataset_report(source)

        def build(folder: Path) -> None:
            archive = folder / "archive"
            self._fetch(
                source.key, archive, sha256=source.sha256, what="dataset", reason="DATASET_UNREADABLE"
            )
            try:
                prepare(
                    archive,
                    folder / "files",
                    format=report.format,
                    file_name=source.file_name,
                    report=report,
                    should_stop=self._should_stop,
                )
            except Cancelled as error:
                raise TransferCancelled from error
            except ArchiveError as error:
                raise _unreadable(error.message, error.remedy) from error
            except FormatNotSupported as error:
                raise RecipeError(str(error), reason="NOT_SUPPORTED") from error
            archive.unlink()

        # What is left out changes what is unpacked, and may change with the release that made the report.
        key = "\n".join((source.sha256, dataset_format(source), source.file_name, *report.excluded))
        entry = self._cache.entry(
            "datasets",
            key if report.excluded or source.file_name else source.sha256,
            build,
            expected_bytes=3 * source.size_bytes,
        )
        return DatasetFiles(dir=entry / "files", sha256=source.sha256, report=report)

    def model_files(self, source: ModelSource, *, what: str = "base model") -> Path:
        """The folder with a stored model's files; raises RecipeError, TransferCancelled."""
        return self._files("models", source.sha256, source.files, what=what, reason="BASE_MODEL_UNAVAILABLE")

    def source_artifacts(self, files: Sequence[StoredFile]) -> Path:
        """The folder with a finished job's artifacts; raises RecipeError, TransferCancelled."""
        if not files:
            raise no_source_artifacts()
        key = "\n".join(sorted(f"{file.path} {file.sha256}" for file in files))
        return self._files("artifacts", key, files, what="source job", reason="MODEL_NOT_FOUND")

    def _files(self, kind: str, key: str, files: Sequence[StoredFile], *, what: str, reason: Reason) -> Path:
        def build(folder: Path) -> None:
            for file in files:
                try:
                    path = local_path(folder, file.path)
                except ValueError as error:
                    raise RecipeError(str(error), reason=reason) from error
                self._fetch(file.key, path, sha256=file.sha256, what=what, reason=reason)

        size_bytes = sum(file.size_bytes for file in files)
        return self._cache.entry(kind, key, build, expected_bytes=size_bytes)

    def _fetch(self, key: str, path: Path, *, sha256: str, what: str, reason: Reason) -> None:
        remedy = f"Upload or import the {what} again."
        if reason == "MODEL_NOT_FOUND":
            remedy = "Run the source job again, then repeat this one."
        try:
            self._transfers.download(key, path, sha256=sha256)
        except ObjectNotFound as error:
            raise RecipeError(
                f"The {what}'s bytes are not in the object store.", reason=reason, remedies=(remedy,)
            ) from error
        except ChecksumMismatch as error:
            raise RecipeError(
                f"The {what}'s bytes in the object store are not those that were uploaded.",
                reason=reason,
                remedies=(remedy, "Check the object store's disks."),
            ) from error


def empty_folder(folder: Path) -> Path:
    """A new, empty folder in place of whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _unreadable(message: str, remedy: str) -> RecipeError:
    return RecipeError(
        f"The dataset cannot be unpacked: {message}", reason="DATASET_UNREADABLE", remedies=(remedy,)
    )
