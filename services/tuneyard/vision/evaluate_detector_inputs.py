"""What an evaluation of a detector measures: the images of a split, and the base model where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tuneyard.datasets import yolo
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.held_out import require_validation
from tuneyard.trainer.run import DatasetFiles, Run
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_model import load_detector
from tuneyard.vision.detector_offline import ROOT, YAML
from tuneyard.vision.detector_splits import DetectionSplit, make_splits, renumbered
from tuneyard.vision.detector_weights import initial_detector
from tuneyard.vision.evaluate_samples import is_divided, split_origin, unknown_classes

_PRETRAINED_ON = "coco.yaml"
"""The dataset of ultralytics' published detectors."""


@dataclass(frozen=True)
class MeasuredSplit:
    """Images with their boxes, numbered by the model's classes."""

    split: DetectionSplit
    origin: str
    """Where the split comes from, for people."""
    divided: bool = False
    """Whether it is the share of a dataset that the training held out."""


def measured_split(
    config: EvaluateConfig, source: DetectorConfig, *, classes: Sequence[str], run: Run
) -> MeasuredSplit:
    """The split that is asked for; `classes` are the model's. Raises RecipeError DATASET_INVALID."""
    files, divided = run.dataset(), False
    if not config.is_own_dataset or config.split == "test":
        names, found, origin = _of_split(files, config.split)
    else:
        validation = run.validation_dataset()
        require_validation(config.validation_dataset, validation)
        splits = make_splits(files, validation, source)
        names, found = splits.classes, splits.train if config.split == "train" else splits.validation
        brings_val = bool(yolo.index(files.dir, files.report).splits.get("val"))
        origin = split_origin(
            config, brings_val=brings_val, fraction=source.validation_fraction, seed=source.seed
        )
        divided = is_divided(config, brings_val=brings_val)
    if not found.samples:
        raise RecipeError(
            f"The {config.split} split of {config.dataset} has no images.",
            reason="DATASET_INVALID",
            remedies=("Name another split, or a dataset that has one.",),
        )
    if unknown := [name for name in names if name not in classes]:
        raise unknown_classes(unknown, dataset=config.dataset)
    samples = renumbered(found.samples, names, classes)
    return MeasuredSplit(DetectionSplit(found.root, found.dataset_sha256, samples), origin, divided)


def _of_split(files: DatasetFiles, split: str) -> tuple[tuple[str, ...], DetectionSplit, str]:
    index = yolo.index(files.dir, files.report)
    samples = DetectionSplit(index.root, files.sha256, tuple(index.splits.get(split, ())))
    has_splits = len(index.splits) > 1
    return index.classes, samples, f"the dataset's own {split} split" if has_splits else "all of the dataset"


def base_or_reason(
    config: EvaluateConfig, source: DetectorConfig, *, classes: Sequence[str], run: Run
) -> tuple[nn.Module, str] | str:
    """The model that training began with and its name, or why there is no comparison, for people.

    Training takes the rows of its head by the names of the classes: the base can answer where it knows all.
    """
    if not config.compare_with_base:
        return "A comparison with the base model was not asked for."
    if not source.pretrained:
        return "The training began with random weights: there is no base model to compare with."
    folder = run.model_files()
    if folder is None and source.base_model.startswith("models/"):
        return f"The base model {source.base_model} is no longer in the store."
    try:
        known = load_detector(folder).classes if folder else _published_classes()
        unknown = [name for name in classes if name not in known]
        if unknown:
            return (
                f"The base model {source.base_model} does not know {len(unknown)} of the classes"
                f" ({', '.join(unknown[:3])}{', …' if len(unknown) > 3 else ''}): it has no answers to"
                " compare with."
            )
        model, name = initial_detector(source, classes, run=run)
    except RecipeError as error:
        return f"The base model cannot be had: {error.message}"
    return model.eval(), name


def _published_classes() -> tuple[str, ...]:
    names = YAML.load(ROOT / "cfg" / "datasets" / _PRETRAINED_ON)["names"]  # type: ignore[no-untyped-call]
    return tuple(str(name) for name in names.values())
