"""The calls under /api/training."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, UploadFile
from fastapi.responses import StreamingResponse
from google.protobuf.json_format import MessageToDict

from tuneyard.client import AsyncClient
from tuneyard.client.words import FAMILIES
from tuneyard.v1 import job_pb2, training_pb2, training_service_pb2
from tuneyard.web.guide import sources
from tuneyard.web.guide.bodies import StartTraining
from tuneyard.web.guide.own_names import Naming, told_as
from tuneyard.web.guide.specs import FORMATS, TASKS, family_of, spec_naming, training_spec
from tuneyard.web.guide.starting import invalid, start, start_form
from tuneyard.web.guide.tasks import ENDED, PENDING, RUNNING, task

router = APIRouter(prefix="/training", tags=["training"])


def client_of(request: Request) -> AsyncClient:
    """The connection that all requests share."""
    client: AsyncClient = request.app.state.client
    return client


Client = Annotated[AsyncClient, Depends(client_of)]


@router.post("/start")
async def start_training(body: StartTraining, request: Request, client: Client) -> dict[str, str]:
    """Start a training; answers its task id at once."""
    return {"task_id": await start(client, body.model_type, body, request=request)}


@router.get("/status/{task_id}")
async def training_status(task_id: str, client: Client) -> dict[str, Any]:
    """One task."""
    return task(await client.jobs.get(task_id))


@router.post("/stop/{task_id}")
async def stop(task_id: str, client: Client) -> dict[str, Any]:
    """Cancel a task. Nothing is saved."""
    return stopped(await client.jobs.cancel(task_id))


@router.post("/pause/{task_id}")
async def pause(task_id: str, client: Client) -> dict[str, Any]:
    """Pause a task at its next step, with a checkpoint."""
    return stopped(await client.jobs.pause(task_id))


@router.post("/resume/{task_id}")
async def resume(task_id: str, client: Client) -> dict[str, Any]:
    """Queue a paused task again; it goes on where it was."""
    return stopped(await client.jobs.resume(task_id))


@router.post("/rerun/{task_id}")
async def rerun(task_id: str, client: Client) -> dict[str, str]:
    """Start a finished task's settings anew."""
    again = await client.jobs.rerun(task_id)
    return {"task_id": again.name.removeprefix("jobs/")}


@router.post("/estimate")
async def estimate(body: StartTraining, client: Client) -> dict[str, Any]:
    """What a training would need: memory, disk, time, and what is wrong. Creates nothing."""
    spec = training_spec(body.model_type, body.base_model, "datasets/unknown", body.settings())
    stored = await sources.stored_name(client, body.dataset_path)
    format = FORMATS[body.model_type]
    spec.dataset = stored or await sources.import_folder(client, body.dataset_path, format=format)
    try:
        if not stored:
            await sources.checked(client, spec.dataset, field="dataset_path")
        own = spec_naming(body.model_type, body.settings())
        with told_as(own):
            found = await client.estimate(spec)
        return MessageToDict(_in_own_names(found, own), preserving_proto_field_name=True)
    finally:
        # A folder is looked at, not kept.
        if not stored:
            await client.datasets.delete(spec.dataset)


@router.get("/tasks")
async def tasks(client: Client) -> list[dict[str, Any]]:
    """What waits and runs."""
    return await listed(client, (*PENDING, *RUNNING))


@router.get("/history")
async def history(client: Client) -> list[dict[str, Any]]:
    """What has ended, newest first."""
    return await listed(client, ENDED)


@router.get("/models")
async def models(client: Client, model_type: Annotated[str, Query()] = "") -> list[dict[str, str]]:
    """What a training can start from."""
    if model_type and model_type not in TASKS:
        raise invalid("model_type", f"{model_type!r} is none of {', '.join(TASKS)}")
    kind = family_of(model_type) if model_type else training_pb2.TASK_KIND_UNSPECIFIED
    found = await client.models.base_models(task=kind)
    return [
        {"id": each.id, "name": each.display_name or each.id, "description": each.description}
        for each in found
    ]


@router.post("/datasets/upload")
async def upload_dataset(
    client: Client, file: UploadFile, type: Annotated[str, Form()], name: Annotated[str, Form()] = ""
) -> dict[str, Any]:
    """Store a dataset, and answer when it is checked."""
    stored = await sources.upload(client, file, format=sources.format_of(type), name=name)
    return sources.dataset_answer(stored)


@router.get("/datasets")
async def datasets(client: Client) -> list[dict[str, Any]]:
    """The stored datasets."""
    return [sources.dataset_answer(each) for each in await client.datasets.list()]


@router.delete("/datasets/{dataset_id}", status_code=204)
async def delete_dataset(dataset_id: str, client: Client) -> None:
    """Delete a dataset that no waiting or running task uses."""
    await client.datasets.delete(dataset_id)


@router.get("/download/{task_id}")
async def download(task_id: str, client: Client) -> StreamingResponse:
    """The trained model with everything that belongs to it, as a ZIP."""
    job = await client.jobs.get(task_id)
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        raise invalid("task_id", f"{task_id} has no trained model: it is {task(job)['message']}")
    return await zipped(client, task_id, "")


@router.get("/checkpoints/{task_id}")
async def checkpoints(task_id: str, client: Client) -> dict[str, Any]:
    """The checkpoints that are kept."""
    found = await client.jobs.checkpoints(task_id)
    return {"checkpoints": [MessageToDict(each, preserving_proto_field_name=True) for each in found]}


@router.post("/image-classifier")
async def image_classifier(request: Request, client: Client) -> dict[str, Any]:
    """A form: train a classifier on the ZIP in `dataset`."""
    return await started_by_form(client, "image_classifier", request)


@router.post("/object-detection")
async def object_detection(request: Request, client: Client) -> dict[str, Any]:
    """A form: train a detector on the ZIP in `dataset`."""
    return await started_by_form(client, "object_detector", request)


def _in_own_names(estimate: job_pb2.Estimate, own: Naming) -> job_pb2.Estimate:
    for each in (*estimate.violations, *estimate.warnings):
        each.field = own(each.field)
    estimate.given_fields[:] = [own(f"spec.{path}") for path in estimate.given_fields]
    for offer in estimate.alternatives:
        changes = {own(f"spec.{path}"): value for path, value in offer.changes.items()}
        offer.changes.clear()
        offer.changes.update(changes)
    return estimate


async def started_by_form(
    client: AsyncClient, model_type: str, request: Request, **more: Any
) -> dict[str, Any]:
    """The answer to a form that starts a training."""
    async with request.form(max_files=1) as form:
        started = await start_form(client, model_type, form, request=request, more=more)
    return {"success": True, "task_id": started, "message": "The task is queued."}


def stopped(job: job_pb2.Job) -> dict[str, Any]:
    """The answer to a wish about a task."""
    return {"success": True, "message": str(task(job)["message"])}


async def listed(
    client: AsyncClient, states: Sequence["job_pb2.JobState.ValueType"], *, family: str = ""
) -> list[dict[str, Any]]:
    """Tasks in one of the states, newest first."""
    chosen = training_service_pb2.JobFilter(states=states, families=[FAMILIES[family]] if family else [])
    return [task(job) for job in await client.jobs.list(chosen)]


async def zipped(client: AsyncClient, task_id: str, path: str) -> StreamingResponse:
    """A ZIP of a job's artifacts below a path, streamed; an error is an answer of its own."""
    chunks = client.artifacts.stream(task_id, path)
    try:
        first = await anext(chunks, b"")
    except BaseException:
        await chunks.aclose()
        raise

    async def body() -> Any:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    name = f"{task_id}-{path.strip('/') or 'model'}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(body(), media_type="application/zip", headers=headers)
