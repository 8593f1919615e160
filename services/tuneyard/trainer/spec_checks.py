"""What is wrong or unusual with the spec of a training whatever it trains. Imports no torch, changes nothing.

What is peculiar to a task its family checks, with these among its checks.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.v1 import dataset_pb2, system_pb2, training_pb2

_HUB_ID = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*/[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub_id(base_model: str) -> bool:
    """Whether it is written as a hub names its models, "OWNER/NAME"; so are the store's, "models/NAME"."""
    return _HUB_ID.fullmatch(base_model) is not None


def dataset_format_word(format: "dataset_pb2.DatasetFormat.ValueType") -> str:
    """A dataset's format as people write it: "image-folder"."""
    name = dataset_pb2.DatasetFormat.Name(format)
    return name.removeprefix("DATASET_FORMAT_").lower().replace("_", "-")


def wrong_dataset_format(
    given: "dataset_pb2.DatasetFormat.ValueType",
    *,
    wanted: "dataset_pb2.DatasetFormat.ValueType",
    trained: str,
) -> Violation | None:
    """A violation if a dataset has another layout than what is trained ("A language model") learns from."""
    if given in (dataset_pb2.DATASET_FORMAT_UNSPECIFIED, wanted):
        return None
    words = dataset_format_word(wanted), dataset_format_word(given)
    return violation("dataset", f"{trained} needs a dataset of format {words[0]}, not {words[1]}.")


def unknown_metric(resolved: training_pb2.TrainingSpec, known: Collection[str]) -> Iterator[Violation]:
    """Early stopping can only follow what the training measures."""
    metric = resolved.early_stopping.metric
    if metric not in known:
        yield violation(
            "early_stopping.metric", f"There is no metric {metric!r}: use one of {', '.join(known)}."
        )


def moving_revision(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    """A hub's model is named by a commit, so that a job that is run again begins with the same weights."""
    revision, name = resolved.base_model_revision, resolved.base_model
    if revision and not name.startswith("models/") and not _COMMIT.fullmatch(revision):
        yield violation(
            "base_model_revision",
            f"{revision!r} is no commit: what a branch or a tag names may change. Give its 40 hex digits.",
        )


def impossible_on_devices(
    resolved: training_pb2.TrainingSpec, devices: Sequence[system_pb2.Device], *, trained: str
) -> Iterator[Violation]:
    """What the trainer's devices cannot do; `trained` is what is trained, as "a language model"."""
    count = resolved.resources.device_count
    if count > 1:
        have = f"this trainer has {len(devices)}, and " if count > len(devices) else ""
        yield violation("resources.device_count", f"{count} devices: {have}{trained} is trained on one.")
    accelerated = any(device.id != "cpu" for device in devices) and not resolved.resources.force_cpu
    if resolved.hyperparameters.precision == training_pb2.PRECISION_FP16 and not accelerated:
        yield violation(
            "hyperparameters.precision", "PRECISION_FP16 needs an accelerator; use PRECISION_AUTO."
        )


def unusual_split(given: training_pb2.TrainingSpec, *, brings_validation: bool) -> Iterator[Violation]:
    """A warning of a validation fraction that is not used, or not usual."""
    if not given.data_split.HasField("validation_fraction"):
        return
    at, share = "data_split.validation_fraction", given.data_split.validation_fraction
    if brings_validation:
        yield violation(at, "The dataset brings its own validation split, which is used.")
    elif not 0.1 <= share <= 0.2:
        yield violation(at, f"{share:g}; 0.1 to 0.2 is usual.")


def batch_beyond_data(
    resolved: training_pb2.TrainingSpec, train_samples: int, *, samples: str
) -> Iterator[Violation]:
    """A warning where a step takes more than all samples there are; `samples` names them: "images"."""
    hyper = resolved.hyperparameters
    effective = hyper.batch_size * hyper.gradient_accumulation_steps
    if effective > train_samples:
        yield violation(
            "hyperparameters.gradient_accumulation_steps",
            f"An effective batch of {effective} is larger than the {train_samples} training {samples}.",
        )


def nothing_to_page(resolved: training_pb2.TrainingSpec, *, on_cpu: bool) -> Iterator[Violation]:
    """A warning of paged state where there is no accelerator that it could be paged out of."""
    if on_cpu and resolved.hyperparameters.optimizer == training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT:
        yield violation(
            "hyperparameters.optimizer", "On the processor there is nothing to page: it is 8-bit AdamW."
        )
