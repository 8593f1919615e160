"""A gateway that has a dataset, takes others and starts jobs."""

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    job_pb2,
    training_service_pb2,
)


@pytest.fixture
def ready(gateway: FakeGateway) -> FakeGateway:
    dataset = dataset_pb2.Dataset(
        name="datasets/pets",
        display_name="pets",
        format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
        state=dataset_pb2.DATASET_STATE_READY,
        size_bytes=9,
        report=dataset_pb2.ValidationReport(classes=["cat", "dog"], samples=40),
    )
    waiting = dataset_pb2.Dataset(
        name="datasets/pets", state=dataset_pb2.DATASET_STATE_UPLOADING, upload=dataset_pb2.Upload()
    )
    gateway.answer("GetDataset", dataset_service_pb2.GetDatasetResponse(dataset=dataset))
    gateway.answer("CreateDataset", dataset_service_pb2.CreateDatasetResponse(dataset=waiting))

    def uploaded(requests, context):
        gateway.requests["UploadDataset"] += list(requests)
        return dataset_service_pb2.UploadDatasetResponse(dataset=dataset)

    gateway.on("UploadDataset", uploaded)
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_QUEUED, queue_position=2)
    gateway.answer("Train", training_service_pb2.TrainResponse(job=job))
    gateway.answer("GetJob", training_service_pb2.GetJobResponse(job=job))
    return gateway
