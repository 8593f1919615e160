"""The whole platform, on the folder store and on a real S3 server: from the upload to the download."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, assert_gapless, drawn_images, fake_spec, platform
from tests.support.servers import S3Server
from tuneyard.v1 import artifact_service_pb2, dataset_pb2, dataset_service_pb2, job_pb2, training_service_pb2
from tuneyard.v1.dataset_service_pb2_grpc import DatasetServiceStub

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(params=["folder", "s3"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    store, extra = "", {}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        store = f"s3://{server.bucket}/tuneyard"
        extra = {
            "TUNEYARD_S3_ENDPOINT": server.endpoint,
            "TUNEYARD_S3_ACCESS_KEY": server.access_key,
            "TUNEYARD_S3_SECRET_KEY": server.secret_key,
            "TUNEYARD_S3_REGION": server.region,
            "TUNEYARD_S3_SECURE": str(server.secure).lower(),
        }
    with platform(tmp_path / "p", store=store, extra=extra) as started:
        yield started


def test_from_the_upload_to_the_download(whole: Platform) -> None:
    dataset = whole.upload_images()
    stored = whole.dataset(dataset.removeprefix("datasets/"))
    assert stored.sha256 == hashlib.sha256(drawn_images()).hexdigest()
    job = whole.train(fake_spec("steps=120,step_ms=8,save=15,eval=30,dataset=1,artifact_bytes=3000000"))
    watcher = whole.watch(job.name)
    watcher.wait_for(lambda events: any(e.HasField("checkpoint") for e in events))
    for worker in whole.workers():
        worker.kill()
    whole.gateway.restart()
    events = watcher.wait(within=120)
    assert_gapless(events)
    ended = whole.job(job.name)
    assert (ended.state, ended.attempt_count) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    assert ended.resumed_from.step >= 15
    _assert_downloads_are_whole(whole, job.name)
    _assert_deleting_leaves_nothing(whole, job.name, dataset)


def _assert_downloads_are_whole(whole: Platform, job: str) -> None:
    listed = whole.call(
        lambda channel: whole.artifacts(channel).ListArtifacts(
            artifact_service_pb2.ListArtifactsRequest(parent=job), timeout=10
        )
    )
    assert {"weights.npy", "losses.json", "manifest.json", "extra.bin"} <= {a.path for a in listed.artifacts}
    for artifact in listed.artifacts:
        request = artifact_service_pb2.DownloadArtifactRequest(name=artifact.name)
        content = whole.call(
            lambda channel, request=request: b"".join(  # type: ignore[misc]
                part.chunk for part in whole.artifacts(channel).DownloadArtifact(request, timeout=30)
            )
        )
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert len(content) == artifact.size_bytes


def _assert_deleting_leaves_nothing(whole: Platform, job: str, dataset: str) -> None:
    whole.call(
        lambda channel: whole.training(channel).DeleteJob(training_service_pb2.DeleteJobRequest(name=job))
    )
    delete = dataset_service_pb2.DeleteDatasetRequest(name=dataset)
    whole.call(lambda channel: DatasetServiceStub(channel).DeleteDataset(delete))
    for name, call in (
        (job, lambda channel: whole.training(channel).GetJob(training_service_pb2.GetJobRequest(name=job))),
        (
            dataset,
            lambda channel: DatasetServiceStub(channel).GetDataset(
                dataset_service_pb2.GetDatasetRequest(name=dataset)
            ),
        ),
    ):
        with pytest.raises(Exception, match=name):
            whole.call(call)


def test_a_dataset_that_a_waiting_job_uses_is_not_deleted(whole: Platform) -> None:
    dataset = whole.upload_images()
    job = whole.train(fake_spec("steps=2000,step_ms=5"))
    delete = dataset_service_pb2.DeleteDatasetRequest(name=dataset)
    with pytest.raises(Exception, match=job.name):
        whole.call(lambda channel: DatasetServiceStub(channel).DeleteDataset(delete))
    whole.cancel(job.name)
    assert whole.dataset("tiny").state == dataset_pb2.DATASET_STATE_READY
