"""What can go wrong for a caller of Tuneyard, as one tree of exceptions.

    TuneyardError
    ├── ServerUnreachable            nothing answers at the address, or the connection broke
    ├── DeadlineExceeded             (also a TimeoutError) no answer, or no end of a job, in the time given
    ├── InvalidRequest               the request itself is wrong; `violations` names the fields
    │   ├── InvalidField, InvalidPageToken, MessageTooLarge, UnknownBaseModel
    ├── AccessDenied
    │   ├── Unauthenticated, PermissionDenied, SourceNotAllowed
    ├── NotFound
    │   ├── JobNotFound, DatasetNotFound, ModelNotFound, ArtifactNotFound, RunNotFound
    ├── Conflict                     the state of things does not allow it
    │   ├── AlreadyExists, RequestIdReused, JobStateConflict, DatasetInUse, ModelInUse, DatasetNotReady,
    │   │   DatasetInvalid, UploadOffsetMismatch, StaleController, StaleAttempt
    ├── Unavailable                  a part of the system is missing or away; trying later may help
    │   ├── NoTrainer, TrainerUnavailable, NotSupported, BaseModelUnavailable, StoreUnavailable,
    │   │   DatabaseUnavailable, ShuttingDown
    ├── ResourceExhausted            too little room; `retry_after` says when to come back, where that helps
    │   ├── DoesNotFit, StorageFull, NoFreeSlot, TooManyRequests
    ├── Corrupt
    │   ├── ChecksumMismatch, EventGap
    ├── JobFailed                    a job ended in FAILED; `remedies` says what to change
    │   ├── OutOfMemory, WorkerKilled, WorkerCrashed, CrashLoop, RecipeFailed, Diverged, CheckpointCorrupt,
    │   │   DatasetUnreadable
    ├── JobCancelled                 a job that was waited for ended in CANCELLED
    └── ServerError                  a fault of the server, or an answer that this release does not know

`REASONS` is the table from a reason of `tuneyard.v1.ErrorReason` to its class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tuneyard.v1 import job_pb2


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with one field: its full path from the request's root, and what to do."""

    field: str
    description: str


class TuneyardError(Exception):
    """The base of everything that this package raises about the server and its jobs."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
        resource: str | None = None,
        metadata: Mapping[str, str] | None = None,
        status: str = "",
    ) -> None:
        """`reason` is a name of ErrorReason without its prefix, `status` one of gRPC's codes such as
        "NOT_FOUND"; "" where no server gave one.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.resource = resource
        self.metadata = dict(metadata or {})
        self.status = status


class ServerUnreachable(TuneyardError):
    """Nothing answers at the address, or the connection broke."""


class DeadlineExceeded(TuneyardError, TimeoutError):
    """No answer, or no end of a job, in the time given."""


class InvalidRequest(TuneyardError):
    """The request itself is wrong."""


class InvalidField(InvalidRequest):
    """Fields break their rules; `violations` lists every one."""


class InvalidPageToken(InvalidRequest):
    """The page token is not one that the server gave for this list."""


class MessageTooLarge(InvalidRequest):
    """The message is larger than the server accepts."""


class UnknownBaseModel(InvalidRequest):
    """No such base model in the catalogue or the store."""


class AccessDenied(TuneyardError):
    """The caller may not do this."""


class Unauthenticated(AccessDenied):
    """No valid token came with the call: set TUNEYARD_TOKEN, or give `token`."""


class PermissionDenied(AccessDenied):
    """The caller may not do this."""


class SourceNotAllowed(AccessDenied):
    """The source to import is not below an allowed root of the server, or cannot be read."""


class NotFound(TuneyardError):
    """Nothing has this name; `resource` is the name."""


class JobNotFound(NotFound):
    """No job has this name."""


class DatasetNotFound(NotFound):
    """No dataset has this name."""


class ModelNotFound(NotFound):
    """No model has this name."""


class ArtifactNotFound(NotFound):
    """The job has no artifact at this path."""


class RunNotFound(NotFound):
    """A trainer knows no such run."""


class Conflict(TuneyardError):
    """The state of things does not allow this."""


class AlreadyExists(Conflict):
    """A resource of this name exists already."""


class RequestIdReused(Conflict):
    """The request id was used before with another request."""


class JobStateConflict(Conflict):
    """The job's state does not allow this."""


class DatasetInUse(Conflict):
    """A job that waits or runs uses the dataset."""


class ModelInUse(Conflict):
    """A job that waits or runs uses the model."""


class DatasetNotReady(Conflict):
    """The dataset's upload or validation has not ended."""


class DatasetInvalid(Conflict):
    """The dataset failed validation; its report says where."""


class UploadOffsetMismatch(Conflict):
    """The upload's offset is not the number of bytes that the server holds."""


class StaleController(Conflict):
    """Between servers: the caller is no longer the controller."""


class StaleAttempt(Conflict):
    """Between servers: the attempt is closed."""


class Unavailable(TuneyardError):
    """A part of the system is missing or away."""


class NoTrainer(Unavailable):
    """No trainer for this family is configured."""


class TrainerUnavailable(Unavailable):
    """The trainer cannot be reached now."""


class NotSupported(Unavailable):
    """This server does not serve the method or task."""


class BaseModelUnavailable(Unavailable):
    """The base model's weights can be neither found in the store nor fetched."""


class StoreUnavailable(Unavailable):
    """The object store does not answer."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class ResourceExhausted(TuneyardError):
    """Too little room of some kind."""


class DoesNotFit(ResourceExhausted):
    """The job cannot fit on any device of its family; the message has the numbers."""


class StorageFull(ResourceExhausted):
    """The disk or the store has too little room."""


class NoFreeSlot(ResourceExhausted):
    """No device is free."""


class TooManyRequests(ResourceExhausted):
    """Too many uploads, watchers or requests of one kind at once."""


class Corrupt(TuneyardError):
    """Bytes or events are not what they must be."""


class ChecksumMismatch(Corrupt):
    """Bytes do not have the announced SHA-256 or size."""


class EventGap(Corrupt):
    """A job's events do not follow one another: the promise of the event log is broken."""


class JobFailed(TuneyardError):
    """A job ended in FAILED."""

    job: job_pb2.Job | None = None
    remedies: tuple[str, ...] = ()
    """What to change, in the order in which to try it."""


class OutOfMemory(JobFailed):
    """The device or the host had too little memory even at micro-batch 1."""


class WorkerKilled(JobFailed):
    """The worker was killed by a signal from outside."""


class WorkerCrashed(JobFailed):
    """The worker ended without a result."""


class CrashLoop(JobFailed):
    """Several attempts in a row were lost without a new checkpoint."""


class RecipeFailed(JobFailed):
    """The recipe raised an error; the message names the stage."""


class Diverged(JobFailed):
    """The loss became NaN or infinite."""


class CheckpointCorrupt(JobFailed):
    """A checkpoint does not have the bytes that its record names."""


class DatasetUnreadable(JobFailed):
    """The dataset's bytes could not be fetched or unpacked on the trainer."""


class JobCancelled(TuneyardError):
    """A job that was waited for ended in CANCELLED."""


class ServerError(TuneyardError):
    """A fault of the server, or an answer that this release does not know."""


REASONS: Final[Mapping[str, type[TuneyardError]]] = {
    "INVALID_FIELD": InvalidField,
    "REQUEST_ID_REUSED": RequestIdReused,
    "INVALID_PAGE_TOKEN": InvalidPageToken,
    "MESSAGE_TOO_LARGE": MessageTooLarge,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "JOB_NOT_FOUND": JobNotFound,
    "DATASET_NOT_FOUND": DatasetNotFound,
    "MODEL_NOT_FOUND": ModelNotFound,
    "ARTIFACT_NOT_FOUND": ArtifactNotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "JOB_STATE_CONFLICT": JobStateConflict,
    "DATASET_IN_USE": DatasetInUse,
    "MODEL_IN_USE": ModelInUse,
    "DATASET_NOT_READY": DatasetNotReady,
    "DATASET_INVALID": DatasetInvalid,
    "UPLOAD_OFFSET_MISMATCH": UploadOffsetMismatch,
    "CHECKSUM_MISMATCH": ChecksumMismatch,
    "SOURCE_NOT_ALLOWED": SourceNotAllowed,
    "UNKNOWN_BASE_MODEL": UnknownBaseModel,
    "BASE_MODEL_UNAVAILABLE": BaseModelUnavailable,
    "NO_TRAINER": NoTrainer,
    "TRAINER_UNAVAILABLE": TrainerUnavailable,
    "NOT_SUPPORTED": NotSupported,
    "DOES_NOT_FIT": DoesNotFit,
    "STORAGE_FULL": StorageFull,
    "STORE_UNAVAILABLE": StoreUnavailable,
    "DATABASE_UNAVAILABLE": DatabaseUnavailable,
    "STALE_CONTROLLER": StaleController,
    "STALE_ATTEMPT": StaleAttempt,
    "NO_FREE_SLOT": NoFreeSlot,
    "RUN_NOT_FOUND": RunNotFound,
    "SHUTTING_DOWN": ShuttingDown,
    "INTERNAL": ServerError,
    "OUT_OF_MEMORY": OutOfMemory,
    "WORKER_KILLED": WorkerKilled,
    "WORKER_CRASHED": WorkerCrashed,
    "CRASH_LOOP": CrashLoop,
    "RECIPE_FAILED": RecipeFailed,
    "DIVERGED": Diverged,
    "CHECKPOINT_CORRUPT": CheckpointCorrupt,
    "DATASET_UNREADABLE": DatasetUnreadable,
    "TOO_MANY_REQUESTS": TooManyRequests,
}

TRANSIENT: Final = (
    ServerUnreachable,
    TrainerUnavailable,
    StoreUnavailable,
    DatabaseUnavailable,
    ShuttingDown,
    TooManyRequests,
)
"""What may be over in a moment, so that an idempotent call is worth repeating."""
