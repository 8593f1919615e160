"""The web edge as a process of its own, before a real gateway and a scripted trainer."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.platform import Platform, drawn_images, eventually, fake_spec
from tuneyard.v1 import job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def web(fakes: Platform) -> str:
    return fakes.start_web()


@pytest.fixture
def http(web: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web, timeout=30) as client:
        yield client


def sequences(web: str, job: str, *, after: int = 0) -> list[int]:
    """Every event's id, reconnecting after the last one as a browser does, until the stream's end."""
    found: list[int] = []
    while True:
        headers = {"Last-Event-ID": str(found[-1] if found else after)}
        with (
            suppress(httpx.TransportError),
            httpx.stream("GET", f"{web}/v1/{job}:watch", headers=headers, timeout=30) as answer,
        ):
            for line in answer.iter_lines() if answer.status_code == 200 else ():
                if line.startswith("id: "):
                    found.append(int(line[4:]))
                if line == "event: end":
                    return found


def test_a_dataset_goes_up_in_pieces_and_a_job_comes_out(http: httpx.Client, web: str) -> None:
    data = drawn_images()
    body = {
        "datasetId": "by-rest",
        "format": "DATASET_FORMAT_IMAGE_FOLDER",
        "sizeBytes": str(len(data)),
        "requestId": "by-rest",
    }
    assert http.post("/v1/datasets", json=body).status_code == 200
    cut = http.put("/v1/datasets/by-rest:upload", content=data[: len(data) // 2])
    received = int(cut.json()["dataset"]["upload"].get("receivedBytes", 0))
    rest = http.put("/v1/datasets/by-rest:upload", content=data[received:], params={"offset": received})
    assert rest.json()["dataset"]["state"] == "DATASET_STATE_VALIDATING"
    spec = {"dataset": "datasets/by-rest", "baseModel": "fake:steps=30,step_ms=2", "imageClassifier": {}}
    job = http.post("/v1/jobs:train", json={"spec": spec, "requestId": "by-rest"}).json()["job"]["name"]
    found = sequences(web, job)
    assert found == list(range(1, len(found) + 1))
    assert http.get(f"/v1/{job}").json()["job"]["state"] == "JOB_STATE_SUCCEEDED"
    listed = http.get(f"/v1/{job}/artifacts").json()["artifacts"]
    losses = http.get(f"/v1/{job}/artifacts/losses.json:download")
    assert len(losses.content) == next(int(a["sizeBytes"]) for a in listed if a["path"] == "losses.json")
    part = http.get(f"/v1/{job}/artifacts/losses.json:download", headers={"Range": "bytes=3-9"})
    assert part.content == losses.content[3:10]


def test_a_gateways_restart_loses_no_event(fakes: Platform, web: str) -> None:
    job = fakes.train(fake_spec("steps=150,step_ms=10,save=20"))
    fakes.watch(job.name).wait_for(lambda events: any(e.HasField("checkpoint") for e in events))
    fakes.gateway.restart()
    found = sequences(web, job.name)
    assert found == list(range(1, len(found) + 1))
    assert fakes.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED


def test_two_hundred_watchers_see_the_same(fakes: Platform, web: str) -> None:
    job = fakes.train(fake_spec("steps=60,step_ms=20"))

    async def watch(client: httpx.AsyncClient) -> list[int]:
        async with client.stream("GET", f"/v1/{job.name}:watch") as answer:
            return [int(line[4:]) async for line in answer.aiter_lines() if line.startswith("id: ")]

    async def all_watch() -> list[list[int]]:
        limits = httpx.Limits(max_connections=250)
        async with httpx.AsyncClient(base_url=web, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(watch(client) for _ in range(200)))

    seen = asyncio.run(all_watch())
    assert seen[0] == list(range(1, len(seen[0]) + 1))
    assert all(each == seen[0] for each in seen)


def test_the_guides_calls_train_stop_and_tell(fakes: Platform, http: httpx.Client) -> None:
    body = {
        "model_type": "image_classifier",
        "base_model": "fake:steps=100000,step_ms=10",
        "dataset_path": "/datasets/tiny",
    }
    task_id = http.post("/api/training/start", json=body).json()["task_id"]
    told = eventually(
        lambda: (found := http.get(f"/api/training/status/{task_id}").json())["current_step"] > 3 and found,
        within=30,
        what="steps of the task",
    )
    assert told["status"] == "running"
    assert task_id in [each["task_id"] for each in http.get("/api/training/tasks").json()]
    assert http.post(f"/api/training/stop/{task_id}").json()["success"] is True
    eventually(
        lambda: http.get(f"/api/training/status/{task_id}").json()["status"] == "cancelled",
        within=30,
        what="the end of the task",
    )


async def test_a_socket_follows_a_task_to_its_end(fakes: Platform, web: str) -> None:
    # Long enough to be at work still when the socket is open, however busy the machine is.
    job = await asyncio.to_thread(fakes.train, fake_spec("steps=100000,step_ms=10"))
    task_id = job.name.removeprefix("jobs/")
    kinds: set[str] = set()
    async with asyncio.timeout(60), connect(f"{web.replace('http', 'ws')}/ws/training/{task_id}") as socket:
        async for text in socket:
            frame = json.loads(text)
            assert frame["data"]["task_id"] == task_id
            if frame["type"] == "progress" and "progress" not in kinds:
                await asyncio.to_thread(fakes.cancel, job.name)
            kinds.add(frame["type"])
            if frame["type"] == "status" and frame["data"]["status"] == "cancelled":
                break
    assert {"status", "progress"} <= kinds
