"""What the trainer answers before a job that works on a finished one: the resolved spec, or what is wrong.

Evaluations and exports of classifiers and detectors; training is judged by `estimate`. Imports no torch.
"""

import importlib.util
from collections.abc import Iterator, Mapping

from tuneyard.trainer.estimates import Request, Response, Violation, refused, violation
from tuneyard.trainer.spec_checks import dataset_format_word
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
_SPLITS = ("test", "val", "train")
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


def format_word(format: int) -> str:
    """The format as people write it: "onnx"."""
    found = job_pb2.ExportFormat.DESCRIPTOR.values_by_number.get(format)
    return found.name.removeprefix("EXPORT_FORMAT_").lower() if found else str(format)


def _export(request: Request, task: str) -> Response:
    format = request.spec.export.format
    if format not in _FORMATS[task]:
        offered = ", ".join(format_word(each) for each in _FORMATS[task])
        why = _WHY_NOT.get(format, f"This release does not write {format_word(format)}.")
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
                f"{format_word(format)} needs {', '.join(missing)} on the trainer: install tuneyard[export].",
            ),
        )
    return _resolved(job_pb2.JobSpec(export=request.spec.export), request)


def _evaluate(request: Request, task: str) -> Response:
    training = request.source_spec.training
    spec = job_pb2.EvaluateSpec()
    spec.CopyFrom(request.spec.evaluate)
    spec.dataset = spec.dataset or training.dataset
    own = spec.dataset == training.dataset
    found = [*_wrong_layout(request, task), *_unknown_classes(request, own=own)]
    present = _present(request, own=own)
    if not spec.split:
        spec.split = next((split for split in _SPLITS if split in present), "train")
    elif spec.split not in present:
        found.append(
            violation("split", f"{spec.dataset} has no split {spec.split!r}; it has {', '.join(present)}.")
        )
    if found:
        return refused(errors_pb2.ERROR_REASON_INVALID_FIELD, *found)
    if not spec.HasField("compare_with_base"):
        spec.compare_with_base = True
    return _resolved(job_pb2.JobSpec(evaluate=spec), request)


def _present(request: Request, *, own: bool) -> Mapping[str, int]:
    """The splits that can be measured, with their samples as far as they are known, best held out first."""
    samples = {facts.split: facts.samples for facts in request.dataset.report.splits}
    # The training made a validation split where the dataset brings none.
    found = {split: samples.get(split, 0) for split in _SPLITS}
    return {split: count for split, count in found.items() if count or (own and split == "val")} or {
        "train": 0
    }


def _wrong_layout(request: Request, task: str) -> Iterator[Violation]:
    layout = request.dataset.format
    if layout not in (dataset_pb2.DATASET_FORMAT_UNSPECIFIED, _LAYOUTS[task]):
        wanted, given = dataset_format_word(_LAYOUTS[task]), dataset_format_word(layout)
        yield violation("dataset", f"The model is measured on datasets of format {wanted}, not {given}.")


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
