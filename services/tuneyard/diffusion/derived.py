"""What the trainer answers before a job that works on a finished one: the resolved spec, or what is wrong.

Merges, exports and evaluations; training is judged by `estimate`. Imports no torch.
"""

from collections.abc import Iterator, Mapping

from tuneyard.diffusion.checks import wrong_clip_model
from tuneyard.diffusion.memory import HOST_BASE_BYTES
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.plan import clip_facts, pipeline_facts
from tuneyard.trainer.estimates import Request, Response, Violation, refused, violation
from tuneyard.trainer.spec_checks import dataset_format_word
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2

_SPLITS = ("test", "val", "train")
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


def export_word(format: int) -> str:
    """The format as people write it: "kohya"."""
    found = job_pb2.ExportFormat.DESCRIPTOR.values_by_number.get(format)
    return found.name.removeprefix("EXPORT_FORMAT_").lower() if found else str(format)


def _evaluate(request: Request) -> Response:
    training = request.source_spec.training
    spec = job_pb2.EvaluateSpec()
    spec.CopyFrom(request.spec.evaluate)
    spec.dataset = spec.dataset or training.dataset
    own = spec.dataset == training.dataset
    found, present = list(_wrong_layout(request)), _present(request, own=own)
    if not spec.split:
        spec.split = next((split for split in _SPLITS if split in present), "train")
    elif spec.split not in present:
        found.append(
            violation("split", f"{spec.dataset} has no split {spec.split!r}; it has {', '.join(present)}.")
        )
    if found:
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *found)
    clip = clip_facts(request)
    if wrong := list(wrong_clip_model(spec.clip_model, clip, at="clip_model")):
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *wrong)
    if clip:
        spec.clip_model = request.clip_model.name
    if not spec.HasField("compare_with_base"):
        spec.compare_with_base = True
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


def _present(request: Request, *, own: bool) -> Mapping[str, int]:
    """The splits that can be measured, with their samples as far as they are known, best held out first."""
    samples = {facts.split: facts.samples for facts in request.dataset.report.splits}
    # The training made a validation split where the dataset brings none.
    found = {split: samples.get(split, 0) for split in _SPLITS}
    return {split: count for split, count in found.items() if count or (own and split == "val")} or {
        "train": 0
    }


def _wrong_layout(request: Request) -> Iterator[Violation]:
    layout = request.dataset.format
    if layout not in (dataset_pb2.DATASET_FORMAT_UNSPECIFIED, dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES):
        yield violation(
            "dataset",
            "The weights are measured on datasets of format captioned-images, not"
            f" {dataset_format_word(layout)}.",
        )
