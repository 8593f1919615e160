"""What the trainer answers before a job that works on a finished one: the resolved spec, or what is wrong.

Evaluations and exports of classifiers and detectors; training is judged by `estimate`. Imports no torch.
"""

import importlib.util
from collections.abc import Iterator

from tuneyard.trainer.derived import evaluation, export_word, unknown_split, wrong_layout
from tuneyard.trainer.estimates import Request, Response, Violation, refused, violation
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2

_FORMATS = {
    "image_classifier": (
        job_pb2.EXPORT_FORMAT_SAFETENSORS,
        job_pb2.EXPORT_FORMAT_ONNX,
        job_pb2.EXPORT_FORMAT_OPENVINO,
        job_pb2.EXPORT_FORMAT_TORCHSCRIPT,
    ),
    "object_detector": (
        job_pb2.EXPORT_FORMAT_SAFETENSORS,
        job_pb2.EXPORT_FORMAT_ONNX,
        job_pb2.EXPORT_FORMAT_OPENVINO,
        job_pb2.EXPORT_FORMAT_TORCHSCRIPT,
        job_pb2.EXPORT_FORMAT_ULTRALYTICS,
    ),
}
_WHY_NOT = {
    job_pb2.EXPORT_FORMAT_ADAPTER: "Training changed all of the model's weights: there is no adapter.",
    job_pb2.EXPORT_FORMAT_KOHYA: "Training changed all of the model's weights: there is no LoRA.",
    job_pb2.EXPORT_FORMAT_ULTRALYTICS: "An image classifier of torchvision is no model of Ultralytics.",
}
_LAYOUTS = {
    "image_classifier": dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
    "object_detector": dataset_pb2.DATASET_FORMAT_YOLO,
}
_PACKAGES = {
    job_pb2.EXPORT_FORMAT_ONNX: ("onnx", "onnxruntime", "onnxscript"),
    # It is written by way of ONNX.
    job_pb2.EXPORT_FORMAT_OPENVINO: ("onnx", "onnxscript", "openvino"),
}
_NAMED = 5


def estimate(request: Request) -> Response:
    """Resolves the spec of a job that works on a finished one."""
    task = request.source_spec.training.WhichOneof("task") or ""
    kind = request.spec.WhichOneof("kind")
    if task not in _FORMATS:
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation("source_job", "Name the job that trained the model: this one trained none."),
        )
    if kind == "export":
        return _export(request, task)
    if kind == "evaluate":
        return _evaluate(request, task)
    return refused(
        errors_pb2.ERROR_REASON_NOT_SUPPORTED,
        violation("source_job", "Only adapters are merged, and this job's model is whole; export it."),
    )


def _export(request: Request, task: str) -> Response:
    format = request.spec.export.format
    if format not in _FORMATS[task]:
        offered = ", ".join(export_word(each) for each in _FORMATS[task])
        why = _WHY_NOT.get(format, f"This release does not write {export_word(format)}.")
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation("format", f"{why} Offered: {offered}."),
        )
    missing = [name for name in _PACKAGES.get(format, ()) if importlib.util.find_spec(name) is None]
    if missing:
        return refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation(
                "format",
                f"{export_word(format)} needs {', '.join(missing)} on the trainer: install tuneyard[export].",
            ),
        )
    return _resolved(job_pb2.JobSpec(export=request.spec.export), request)


def _evaluate(request: Request, task: str) -> Response:
    spec, present = evaluation(request)
    found = [
        *wrong_layout(request, wanted=_LAYOUTS[task]),
        *_unknown_classes(request, own=spec.dataset == request.source_spec.training.dataset),
        *unknown_split(spec, present),
    ]
    if found:
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *found)
    return _resolved(job_pb2.JobSpec(evaluate=spec), request)


def _unknown_classes(request: Request, *, own: bool) -> Iterator[Violation]:
    known = set(request.source_dataset.report.classes)
    if own or not known:
        return
    unknown = [name for name in request.dataset.report.classes if name not in known]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        yield violation(
            "dataset",
            f"The model does not know the classes {', '.join(map(repr, unknown[:_NAMED]))}{more}. Classes are"
            f" matched by name; it knows {', '.join(map(repr, sorted(known)[:_NAMED]))}"
            + (" …" if len(known) > _NAMED else "."),
        )


def _resolved(spec: job_pb2.JobSpec, request: Request) -> Response:
    samples = {facts.split: facts.samples for facts in request.dataset.report.splits}
    return Response(
        estimate=job_pb2.Estimate(
            resolved_spec=spec,
            fits=True,
            disk_bytes=2 * request.dataset.size_bytes if spec.WhichOneof("kind") == "evaluate" else 0,
            validation_samples=samples.get(spec.evaluate.split, 0),
        )
    )
