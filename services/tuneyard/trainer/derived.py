"""What all families answer alike before an evaluation or an export of a finished job. Imports no torch.

Which formats are offered, and what a job needs, its family says.
"""

from collections.abc import Iterator, Mapping

from tuneyard.trainer.estimates import Request, Violation, violation
from tuneyard.trainer.spec_checks import dataset_format_word
from tuneyard.v1 import dataset_pb2, job_pb2

_SPLITS = ("test", "val", "train")
"""The best held out first."""


def export_word(format: int) -> str:
    """The format as people write it: "onnx"."""
    found = job_pb2.ExportFormat.DESCRIPTOR.values_by_number.get(format)
    return found.name.removeprefix("EXPORT_FORMAT_").lower() if found else str(format)


def evaluation(request: Request) -> tuple[job_pb2.EvaluateSpec, Mapping[str, int]]:
    """The evaluation's spec with every unset field filled in, and the splits that can be measured.

    A split comes with its samples, 0 while they are not known; the best held out is first.
    """
    training = request.source_spec.training
    spec = job_pb2.EvaluateSpec()
    spec.CopyFrom(request.spec.evaluate)
    spec.dataset = spec.dataset or training.dataset
    present = _present(request, own=spec.dataset == training.dataset)
    spec.split = spec.split or next(iter(present))
    if not spec.HasField("compare_with_base"):
        spec.compare_with_base = True
    return spec, present


def unknown_split(spec: job_pb2.EvaluateSpec, present: Mapping[str, int]) -> Iterator[Violation]:
    """A violation where the dataset does not have the split."""
    if spec.split not in present:
        yield violation("split", f"{spec.dataset} has no split {spec.split!r}; it has {', '.join(present)}.")


def wrong_layout(
    request: Request, *, wanted: "dataset_pb2.DatasetFormat.ValueType", measured: str = "The model is"
) -> Iterator[Violation]:
    """A violation where the dataset is of another format than the training's."""
    given = request.dataset.format
    if given not in (dataset_pb2.DATASET_FORMAT_UNSPECIFIED, wanted):
        words = dataset_format_word(wanted), dataset_format_word(given)
        yield violation("dataset", f"{measured} measured on datasets of format {words[0]}, not {words[1]}.")


def _present(request: Request, *, own: bool) -> Mapping[str, int]:
    samples = {facts.split: facts.samples for facts in request.dataset.report.splits}
    # The training made a validation split where the dataset brings none.
    found = {split: samples.get(split, 0) for split in _SPLITS}
    return {split: count for split, count in found.items() if count or (own and split == "val")} or {
        "train": 0
    }
