"""What the trainer answers before a job that works on a finished one: the resolved spec, or what is wrong.

Merges, exports and evaluations; training is judged by `estimate`. Imports no torch.
"""

from tuneyard.llm.memory import HOST_BASE_BYTES
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.plan import model_facts
from tuneyard.llm.proof_size import proof_bytes
from tuneyard.trainer.derived import evaluation, export_word, unknown_split, wrong_layout
from tuneyard.trainer.estimates import Request, Response, refused, violation
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, training_pb2

_FULL = training_pb2.FINE_TUNING_METHOD_FULL
_MERGE_FIRST = "The job trained an adapter: `tuneyard merge` makes a whole model of it."
_WHY_NOT = {
    job_pb2.EXPORT_FORMAT_ONNX: "Language models are served from safetensors; there is no ONNX export.",
    job_pb2.EXPORT_FORMAT_KOHYA: "kohya's key names are for image generation.",
}


def estimate(request: Request) -> Response:
    """Resolves the spec of a job that works on a finished one."""
    if request.source_spec.training.WhichOneof("task") != "language_model":
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation("source_job", "Name the job that trained the model: this one fine-tuned none."),
        )
    match request.spec.WhichOneof("kind"):
        case "merge":
            return _merge(request)
        case "export":
            return _export(request)
        case _:
            return _evaluate(request)


def _merge(request: Request) -> Response:
    if request.source_spec.training.language_model.method == _FULL:
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation(
                "source_job",
                "Only adapters are merged, and this job trained all weights: its model is whole; export it.",
            ),
        )
    answer = job_pb2.Estimate(resolved_spec=job_pb2.JobSpec(merge=request.spec.merge), fits=True)
    if facts := model_facts(request):
        whole = facts.dtype_bytes * facts.parameters
        # The base beside what is written.
        answer.disk_bytes, answer.artifact_bytes = 2 * whole, whole
        answer.memory.host_bytes = merge_bytes(facts)
    return Response(estimate=answer)


def merge_bytes(facts: ModelFacts) -> int:
    """The memory of a merge, which goes tensor by tensor, and of its proof, which goes layer by layer."""
    largest = max(
        facts.vocab_size * facts.hidden_size,
        *(linear.inputs * linear.outputs for linear in facts.linears),
    )
    # The tensor in fp32, its change, and its result; of a proof, the head in fp32 beside the answers. Three
    # proofs of models with large vocabularies came to 0.94 to 1.07 times the whole sum.
    merging = (4 + 4 + facts.dtype_bytes) * largest
    proving = 4 * largest + proof_bytes(facts)
    return HOST_BASE_BYTES + max(merging, proving)


def _export(request: Request) -> Response:
    full = request.source_spec.training.language_model.method == _FULL
    offered = job_pb2.EXPORT_FORMAT_SAFETENSORS if full else job_pb2.EXPORT_FORMAT_ADAPTER
    format = request.spec.export.format
    if format == offered:
        return Response(
            estimate=job_pb2.Estimate(resolved_spec=job_pb2.JobSpec(export=request.spec.export), fits=True)
        )
    if format == job_pb2.EXPORT_FORMAT_ADAPTER:
        why = "Training changed all of the model's weights: there is no adapter."
    elif format == job_pb2.EXPORT_FORMAT_SAFETENSORS:
        why = _MERGE_FIRST
    else:
        why = _WHY_NOT.get(format, f"This release does not write {export_word(format)}.")
    return refused(
        errors_pb2.ERROR_REASON_NOT_SUPPORTED,
        violation("format", f"{why} Offered: {export_word(offered)}."),
    )


def _evaluate(request: Request) -> Response:
    spec, present = evaluation(request)
    found = [*wrong_layout(request, wanted=dataset_pb2.DATASET_FORMAT_JSONL), *unknown_split(spec, present)]
    if found:
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *found)
    answer = job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(evaluate=spec),
        fits=True,
        disk_bytes=2 * request.dataset.size_bytes,
        validation_samples=present.get(spec.split, 0),
    )
    if facts := model_facts(request):
        answer.disk_bytes += facts.dtype_bytes * facts.parameters
    return Response(estimate=answer)
