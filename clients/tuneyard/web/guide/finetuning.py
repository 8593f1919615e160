"""The calls under /api/llm-finetuning."""

import json
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse

from tuneyard.client import AsyncClient, errors
from tuneyard.v1 import job_pb2, training_pb2, training_service_pb2
from tuneyard.v1.inference_service_pb2 import ChatTurn, GenerateTextRequest
from tuneyard.web.guide import sources, training
from tuneyard.web.guide.bodies import Merge, StartFinetuning, Test
from tuneyard.web.guide.own_names import naming, told_as
from tuneyard.web.guide.starting import invalid, request_id, start
from tuneyard.web.guide.tasks import ENDED, PENDING, RUNNING, task, task_id
from tuneyard.web.guide.training import Client

router = APIRouter(prefix="/llm-finetuning", tags=["llm-finetuning"])

ADAPTER_FOLDER = "adapter/"
_ADAPTER_CONFIG = "adapter/adapter_config.json"
_MERGE_WITHIN = timedelta(hours=12)
_OF_MERGE = naming({"spec.source_job": "task_id", "spec.output_path": "output_path"})
_OF_TEST = naming(
    {"job": "task_id", "messages[0].content": "prompt", "messages": "prompt", "max_new_tokens": "max_tokens"}
)


@router.post("/lora/start")
async def start_lora(body: StartFinetuning, request: Request, client: Client) -> dict[str, str]:
    """Start a LoRA fine-tuning; with use_4bit or use_8bit it is QLoRA."""
    return {"task_id": await start(client, "llm", body, request=request)}


@router.post("/qlora/start")
async def start_qlora(body: StartFinetuning, request: Request, client: Client) -> dict[str, str]:
    """Start a QLoRA fine-tuning."""
    return {"task_id": await start(client, "llm", body, request=request, more={"method": "qlora"})}


@router.post("/lora")
async def lora_form(request: Request, client: Client) -> dict[str, Any]:
    """A form: LoRA on the JSONL in `dataset`."""
    return await training.started_by_form(client, "llm", request)


@router.post("/qlora")
async def qlora_form(request: Request, client: Client) -> dict[str, Any]:
    """A form: QLoRA on the JSONL in `dataset`."""
    return await training.started_by_form(client, "llm", request, method="qlora")


@router.get("/status/{task_id}")
async def finetuning_status(task_id: str, client: Client) -> dict[str, Any]:
    """One task."""
    return task(await client.jobs.get(task_id))


@router.post("/stop/{task_id}")
async def stop(task_id: str, client: Client) -> dict[str, Any]:
    """Cancel a task. Nothing is saved."""
    return training.stopped(await client.jobs.cancel(task_id))


@router.get("/tasks")
async def tasks(client: Client) -> list[dict[str, Any]]:
    """Every task of language models, newest first."""
    return await training.listed(client, (*PENDING, *RUNNING, *ENDED), family="llm")


@router.get("/models")
async def models(client: Client) -> list[dict[str, Any]]:
    """What a fine-tuning can start from."""
    found = await client.models.base_models(task=training_pb2.TASK_KIND_LANGUAGE_MODEL)
    return [
        {
            "id": each.id,
            "name": each.display_name or each.id,
            "parameters": each.parameter_count,
            "description": each.description,
        }
        for each in found
    ]


@router.post("/data/upload")
async def upload_data(client: Client, file: UploadFile) -> dict[str, Any]:
    """Store a JSONL file; `path` is then a `dataset_path`."""
    stored = await sources.upload(client, file, format="jsonl")
    return {"path": stored.name, "samples": stored.report.samples}


@router.post("/merge")
async def merge(body: Merge, request: Request, client: Client) -> Response:
    """Merge an adapter into its base. Waits until it is done, unless `Prefer: respond-async`."""
    merged, job = await _merge(client, body.task_id, body.output_path, request)
    return _early(job) if merged is None else JSONResponse({"success": True, "path": merged})


@router.post("/merge/{task_id}")
async def merge_task(task_id: str, request: Request, client: Client) -> Response:
    """Merge an adapter into its base. Waits until it is done, unless `Prefer: respond-async`."""
    merged, job = await _merge(client, task_id, "", request)
    if merged is None:
        return _early(job)
    told = {"success": True, "message": task(job)["message"], "merged_model_path": merged}
    return JSONResponse(told)


@router.post("/test")
async def test(body: Test, client: Client) -> dict[str, str]:
    """Ask a finished model."""
    question = GenerateTextRequest(
        job=f"jobs/{body.task_id.removeprefix('jobs/')}",
        messages=[ChatTurn(role="user", content=body.prompt)],
        max_new_tokens=body.max_tokens,
    )
    with told_as(_OF_TEST):
        async with aclosing(client.inference.generate_text(question)) as pieces:
            return {"response": "".join([piece.text async for piece in pieces if not piece.from_base])}


@router.get("/export/{task_id}")
async def export(task_id: str, client: Client) -> StreamingResponse:
    """The adapter as a ZIP."""
    try:
        return await training.zipped(client, task_id, ADAPTER_FOLDER)
    except errors.ArtifactNotFound as error:
        raise invalid(
            "task_id", f"{task_id} has no adapter: it is not done, or trained all weights"
        ) from error


@router.get("/adapters")
async def adapters(client: Client) -> dict[str, Any]:
    """The adapters of finished tasks."""
    done = training_service_pb2.JobFilter(
        states=[job_pb2.JOB_STATE_SUCCEEDED], families=[training_pb2.FAMILY_LLM]
    )
    found = []
    for job in await client.jobs.list(done):
        if not job.resolved_spec.HasField("training"):
            continue
        try:
            config = json.loads(await client.artifacts.read(job.name, _ADAPTER_CONFIG))
        except errors.ArtifactNotFound:
            continue
        path = f"{job.name}/artifacts/{ADAPTER_FOLDER.rstrip('/')}"
        found.append({"path": path, "name": job.labels.get("output_dir", task_id(job)), "config": config})
    return {"adapters": found}


def _early(job: job_pb2.Job) -> Response:
    return JSONResponse({"task_id": task_id(job)}, status_code=202)


async def _merge(
    client: AsyncClient, source: str, output_path: str, request: Request
) -> tuple[str | None, job_pb2.Job]:
    """Where the merged model is, None while the merge goes on, and its job."""
    name = f"jobs/{source.removeprefix('jobs/')}"
    key = sources.store_key(output_path, field="output_path") if output_path else ""
    spec = job_pb2.MergeSpec(source_job=name, output_path=key)
    with told_as(_OF_MERGE):
        job = await client.merge(spec, request_id=request_id(request))
    if "respond-async" in request.headers.get("prefer", ""):
        return None, job.snapshot
    ended = await job.wait(timeout=_MERGE_WITHIN, check=True)
    return key or f"{job.name}/artifacts", ended
