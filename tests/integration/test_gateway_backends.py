"""The edge on real servers: PostgreSQL for the rows, S3 for the bytes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.edge import Edge, image_folder, refusal, running_edge, sha256_of
from tests.support.servers import S3Server
from tuneyard.v1 import dataset_pb2, job_pb2, training_pb2
from tuneyard.v1 import dataset_service_pb2 as pb
from tuneyard.v1 import training_service_pb2 as training

pytestmark = pytest.mark.integration

PART = 8 * 1024 * 1024


def s3_variables(server: S3Server) -> dict[str, str]:
    return {
        "TUNEYARD_STORE": f"s3://{server.bucket}/base",
        "TUNEYARD_S3_ENDPOINT": server.endpoint,
        "TUNEYARD_S3_ACCESS_KEY": server.access_key,
        "TUNEYARD_S3_SECRET_KEY": server.secret_key,
        "TUNEYARD_S3_SECURE": "true" if server.secure else "false",
    }


def train_request(dataset: str, **fields: Any) -> training.TrainRequest:
    spec = training_pb2.TrainingSpec(dataset=dataset, base_model="resnet18")
    spec.image_classifier.SetInParent()
    return training.TrainRequest(spec=spec, **fields)


async def test_uploads_resume_and_datasets_are_judged_on_s3(tmp_path: Path, s3: S3Server) -> None:
    content = b"0123456789abcdef" * (PART // 16 * 2 + 5)
    async with running_edge(tmp_path, **s3_variables(s3)) as edge:
        created = await edge.create_dataset(content, sha256=sha256_of(content))
        cut = await edge.upload(created.name, content[: PART + 7])
        assert cut.upload.received_bytes == PART + 7
    async with running_edge(tmp_path, **s3_variables(s3)) as edge:
        done = await edge.upload(created.name, content, offset=PART + 7)
        assert done.sha256 == sha256_of(content)
        sound = await edge.settled(await edge.ready_dataset("sound"))
        assert sound.state == dataset_pb2.DATASET_STATE_READY


async def test_parts_are_put_to_the_s3_server_itself(tmp_path: Path, s3: S3Server) -> None:
    content = b"0123456789abcdef" * (PART // 16 + 5)
    async with running_edge(tmp_path, **s3_variables(s3)) as edge, httpx.AsyncClient() as client:
        created = await edge.create_dataset(content, sha256=sha256_of(content))
        request = pb.SignDatasetUploadRequest(name=created.name, part_numbers=[1, 2])
        for part in (await edge.datasets.SignDatasetUpload(request)).parts:
            start = (part.part_number - 1) * PART
            (await client.put(part.url, content=content[start : start + PART])).raise_for_status()
        complete = pb.CompleteDatasetUploadRequest(name=created.name)
        done = (await edge.datasets.CompleteDatasetUpload(complete)).dataset
    assert done.sha256 == sha256_of(content)


async def test_an_object_of_the_store_is_imported(tmp_path: Path, s3: S3Server) -> None:
    from tuneyard.gateway.config import load_config
    from tuneyard.storage import open_store

    variables = s3_variables(s3)
    config = load_config(variables)
    open_store(config.store, settings=config.store_settings).put("incoming/x.zip", image_folder())
    async with running_edge(tmp_path, **variables) as edge:
        source = f"s3://{s3.bucket}/base/incoming/x.zip"
        request = pb.ImportDatasetRequest(format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, source=source)
        imported = (await edge.datasets.ImportDataset(request)).dataset
        assert (await edge.settled(imported.name)).report.samples == 36


async def _one_name(edges: list[Edge], dataset: str) -> str:
    calls = [edge.training.Train(train_request(dataset, request_id="r")) for edge in edges * 3]
    names = {(await call).job.name for call in calls}
    assert len(names) == 1
    return str(names.pop())


async def test_two_gateways_share_one_database_and_one_store(
    tmp_path: Path, s3: S3Server, postgres_url: str
) -> None:
    variables = s3_variables(s3) | {"TUNEYARD_DATABASE": postgres_url}
    async with (
        running_edge(tmp_path / "a", **variables) as first,
        running_edge(tmp_path / "b", **variables) as second,
    ):
        name = await second.ready_dataset()
        job = await _one_name([first, second], name)
        watch = aiter(first.training.WatchJob(training.WatchJobRequest(name=job)))
        assert (await anext(watch)).events[0].sequence == 1
        await second.training.CancelJob(training.CancelJobRequest(name=job))
        async with asyncio.timeout(60):
            rest = [event async for response in watch for event in response.events]
        assert rest[-1].state_change.to == job_pb2.JOB_STATE_CANCELLED
        leaders = [edge.gateway.controller.is_leader for edge in (first, second)]
        assert sorted(leaders) == [False, True]


async def test_an_s3_server_that_is_away_is_told_of(tmp_path: Path) -> None:
    from tuneyard.storage import StoreUnavailable

    variables = {"TUNEYARD_STORE": "s3://bucket", "TUNEYARD_S3_ENDPOINT": "127.0.0.1:9"}
    keys = {"TUNEYARD_S3_ACCESS_KEY": "a", "TUNEYARD_S3_SECRET_KEY": "b", "TUNEYARD_S3_SECURE": "false"}
    with pytest.raises(StoreUnavailable):
        async with running_edge(tmp_path, **variables, **keys):
            pass


async def test_a_wrong_request_is_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    async with running_edge(tmp_path, TUNEYARD_DATABASE=postgres_url) as edge:
        error = await refusal(edge.training.Train(train_request("datasets/none")))
        await edge.create_dataset(b"1", dataset_id="digits")
        again = pb.CreateDatasetRequest(
            dataset_id="digits", format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, size_bytes=1
        )
        taken = await refusal(edge.datasets.CreateDataset(again))
    assert (error.reason, taken.reason) == ("DATASET_NOT_FOUND", "ALREADY_EXISTS")
