"""What the trainer answers before a job that works on a finished one: the resolved spec, or what is wrong.

Merges, exports and evaluations; training is judged by `estimate`. Imports no torch.
"""

from tuneyard.diffusion.checks import wrong_clip_model
from tuneyard.diffusion.memory import HOST_BASE_BYTES
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.plan import clip_facts, pipeline_facts
from tuneyard.trainer.derived import evaluation, export_word, unknown_split, wrong_layout
from tuneyard.trainer.estimates import Request, Response, refused, violation
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2

OFFERED = (job_pb2.EXPORT_FORMAT_SAFETENSORS, job_pb2.EXPORT_FORMAT_ADAPTER, job_pb2.EXPORT_FORMAT_KOHYA)
"""The first two are one for LoRA weights: the file that diffusers loads."""
_WHY_NOT = {
    job_pb2.EXPORT_FORMAT_ONNX: "LoRA weights are loaded onto a pipeline; there is no ONNX export.",
}


def estimate(request: Request) -> Response:
    """Resolves the spec of a job that works on a finished one."""
    if request.source_spec.training.WhichOneof("task") != "text_to_image_lora":
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation("source_job", "Name the job that trained the weights: this one trained no LoRA."),
        )
    match request.spec.WhichOneof("kind"):
        case "merge":
            return _merge(request)
        case "export":
            return _export(request)
        case _:
            return _evaluate(request)


def _merge(request: Request) -> Response:
    answer = job_pb2.Estimate(resolved_spec=job_pb2.JobSpec(merge=request.spec.merge), fits=True)
    if facts := pipeline_facts(request):
        whole = facts.dtype_bytes * facts.parameters
        # The base beside what is written.
        answer.disk_bytes, answer.artifact_bytes = 2 * whole, whole
        answer.memory.host_bytes = merge_bytes(facts)
    return Response(estimate=answer)


def merge_bytes(facts: PipelineFacts) -> int:
    """The memory of a merge, whose proof holds a denoiser in fp32 beside its weights as they are stored."""
    held = (4 + facts.dtype_bytes) * facts.denoiser_parameters
    return HOST_BASE_BYTES + held + 4 * facts.vae_parameters + 4 * facts.text_parameters


def _export(request: Request) -> Response:
    format = request.spec.export.format
    if format in OFFERED:
        return Response(
            estimate=job_pb2.Estimate(resolved_spec=job_pb2.JobSpec(export=request.spec.export), fits=True)
        )
    why = _WHY_NOT.get(format, f"LoRA weights are not written as {export_word(format)}.")
    words = ", ".join(export_word(each) for each in OFFERED)
    return refused(
        errors_pb2.ERROR_REASON_NOT_SUPPORTED,
        violation("format", f"{why} Offered: {words}; `tuneyard merge` makes a whole pipeline."),
    )


def _evaluate(request: Request) -> Response:
    spec, present = evaluation(request)
    found = [
        *wrong_layout(
            request, wanted=dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES, measured="The weights are"
        ),
        *unknown_split(spec, present),
    ]
    if found:
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *found)
    clip = clip_facts(request)
    if wrong := list(wrong_clip_model(spec.clip_model, clip, at="clip_model")):
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *wrong)
    if clip:
        spec.clip_model = request.clip_model.name
    answer = job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(evaluate=spec),
        fits=True,
        disk_bytes=2 * request.dataset.size_bytes,
        validation_samples=present.get(spec.split, 0),
    )
    if facts := pipeline_facts(request):
        answer.disk_bytes += facts.dtype_bytes * facts.parameters
    if clip:
        answer.disk_bytes += clip.stored_bytes
    return Response(estimate=answer)
