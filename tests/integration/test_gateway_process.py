"""The gateway as a process: how it starts, what it takes, how it ends, what a kill costs an upload."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from tests.support.edge import sha256_of, upload_requests
from tuneyard.v1 import dataset_pb2, dataset_service_pb2_grpc
from tuneyard.v1 import dataset_service_pb2 as pb

pytestmark = pytest.mark.integration

PART = 8 * 1024 * 1024


class GatewayProcess:
    """A gateway started as users start it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.log = folder / "gateway.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith("TUNEYARD_")}
        environment = own | {
            "TUNEYARD_DATA_DIR": str(folder),
            "TUNEYARD_LISTEN": "127.0.0.1:0",
            "TUNEYARD_BLOB_LISTEN": "127.0.0.1:0",
            "TUNEYARD_LOG_FORMAT": "json",
        }
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuneyard.gateway"], env=environment | variables, stderr=log
            )

    def address(self) -> str:
        """Wait for the ready line; return the address in it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.told().splitlines():
                if '"gateway ready"' in line:
                    return str(json.loads(line)["address"])
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"it is not ready: {self.told()}")

    def told(self) -> str:
        """What it has written to standard error so far."""
        return self.log.read_text()


@contextmanager
def gateway(folder: Path, **variables: str) -> Iterator[GatewayProcess]:
    started = GatewayProcess(folder, **variables)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def stub(channel: grpc.Channel) -> Any:
    return dataset_service_pb2_grpc.DatasetServiceStub(channel)


def test_it_is_ready_soon_small_and_stops(tmp_path: Path) -> None:
    with gateway(tmp_path) as warm_up:
        warm_up.address()
    with gateway(tmp_path) as running:
        running.address()
        process = psutil.Process(running.process.pid)
        used, resident = process.cpu_times(), process.memory_info().rss
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
    # Of its own time: how long the machine lets it wait is not its doing.
    assert used.user + used.system < 6
    assert resident < 150e6


def test_a_second_gateway_on_one_sqlite_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/tuneyard.db"
    with gateway(tmp_path) as first:
        first.address()
        with gateway(tmp_path / "second", TUNEYARD_DATABASE=database) as second:
            assert second.process.wait(60) != 0
    assert "another gateway uses" in second.told()
    assert "Traceback" not in second.told()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TUNEYARD_LISTEN": "0.0.0.0:0"}, "TUNEYARD_TOKEN"),
        ({"TUNEYARD_BLOB_LISTEN": "0.0.0.0:0"}, "TUNEYARD_TOKEN"),
        ({"TUNEYARD_DATABASE": "mysql://x/y"}, "postgresql"),
        ({"TUNEYARD_STORE": "ftp://x"}, "s3://"),
        ({"TUNEYARD_TRAINERS": "vision"}, "TUNEYARD_TRAINERS"),
    ],
)
def test_what_cannot_start_says_why_in_a_sentence(
    tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    with gateway(tmp_path, **variables) as refused:
        assert refused.process.wait(60) != 0
    assert words in refused.told()
    assert "Traceback" not in refused.told()


def test_what_was_received_survives_a_kill(tmp_path: Path) -> None:
    content = os.urandom(3 * PART + 17)
    request = pb.CreateDatasetRequest(
        format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, size_bytes=len(content), sha256=sha256_of(content)
    )
    with gateway(tmp_path) as first, grpc.insecure_channel(first.address()) as channel:
        name = stub(channel).CreateDataset(request).dataset.name
        sent = stub(channel).UploadDataset(upload_requests(name, content[: 2 * PART + 99])).dataset
        first.process.kill()
        first.process.wait()
    with gateway(tmp_path) as second, grpc.insecure_channel(second.address()) as channel:
        found = stub(channel).GetDataset(pb.GetDatasetRequest(name=name)).dataset
        received = found.upload.received_bytes
        assert received == sent.upload.received_bytes == 2 * PART + 99
        done = stub(channel).UploadDataset(upload_requests(name, content, offset=received)).dataset
    assert (done.state, done.sha256) == (dataset_pb2.DATASET_STATE_VALIDATING, sha256_of(content))


def test_an_endless_watch_does_not_hold_the_stop_up(tmp_path: Path) -> None:
    from tuneyard.v1 import training_service_pb2, training_service_pb2_grpc

    with gateway(tmp_path) as running, grpc.insecure_channel(running.address()) as channel:
        training: Any = training_service_pb2_grpc.TrainingServiceStub(channel)
        watch = training.WatchJobs(training_service_pb2.WatchJobsRequest())
        assert next(watch).snapshot_complete
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert running.process.wait(60) == 0
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_it_imports_no_training_library() -> None:
    code = "import sys, tuneyard.gateway.app; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
