"""The Python SDK of Tuneyard: one client that blocks, one for asyncio, the same methods on both.

    from tuneyard.client import Client, TrainingSpec

    with Client() as client:
        spec = TrainingSpec(dataset="datasets/flowers", base_model="resnet50", image_classifier={})
        job = client.train(spec)
        for event in job.watch():
            print(event)

Messages are those of `tuneyard.v1`; those that a caller builds most often are exported here too.
"""

from tuneyard.client.async_client import AsyncClient
from tuneyard.client.client import Client
from tuneyard.client.connection import DEFAULT_SERVER, ConnectionSettings, Tls
from tuneyard.client.errors import (
    AccessDenied,
    Conflict,
    DatasetInvalid,
    DeadlineExceeded,
    EventGap,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    NotSupported,
    ResourceExhausted,
    ServerError,
    ServerUnreachable,
    TuneyardError,
    Unavailable,
    Violation,
)
from tuneyard.client.inference import image_batches
from tuneyard.client.job import Job
from tuneyard.client.jobs import AsyncJob, raise_for_end
from tuneyard.client.transfer import ProgressCallback, Transfer
from tuneyard.client.watching import TERMINAL
from tuneyard.v1.training_pb2 import Hyperparameters, ImageClassifier, TrainingSpec

__all__ = [
    "DEFAULT_SERVER",
    "TERMINAL",
    "AccessDenied",
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Conflict",
    "ConnectionSettings",
    "DatasetInvalid",
    "DeadlineExceeded",
    "EventGap",
    "Hyperparameters",
    "ImageClassifier",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobFailed",
    "NotFound",
    "NotSupported",
    "ProgressCallback",
    "ResourceExhausted",
    "ServerError",
    "ServerUnreachable",
    "Tls",
    "TrainingSpec",
    "Transfer",
    "TuneyardError",
    "Unavailable",
    "Violation",
    "image_batches",
    "raise_for_end",
]
