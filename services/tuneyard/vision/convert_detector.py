"""Recognises the weights of a detector, checks that all fit, and stores them as trained ones are stored."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from tuneyard.datasets.words import counted
from tuneyard.trainer.convert_child import Converted
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import detector_model
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES, architecture_name
from tuneyard.vision.detector_sizes import detector_sizes
from tuneyard.vision.weight_files import WeightFiles

_IMAGE_SIZE = 640
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def convert_checkpoint(file: Path, result: Path, *, architecture: str) -> Converted:
    """From a `.pt` of ultralytics; raises RecipeError BASE_MODEL_UNAVAILABLE."""
    found = detector_model.load_ultralytics_checkpoint(file)
    told = architecture or found.architecture or ""
    return _convert(found.weights, found.classes, result, architecture=told, kind="ultralytics checkpoint")


def convert(files: WeightFiles, result: Path, *, architecture: str) -> Converted:
    """From bare weights, named as ultralytics names them; raises RecipeError BASE_MODEL_UNAVAILABLE."""
    weights = {
        name: value.float() if value.is_floating_point() else value for name, value in files.state.items()
    }
    number, _ = detector_model.class_branch(weights)
    told = files.config.get("classes")
    classes = [str(position) for position in range(number)]
    if isinstance(told, list) and len(told) == number:
        classes = [str(name) for name in told]
    wanted = architecture or str(files.config.get("architecture", ""))
    return _convert(weights, classes, result, architecture=wanted, kind=files.source)


def _convert(
    weights: Mapping[str, Tensor], classes: Sequence[str], result: Path, *, architecture: str, kind: str
) -> Converted:
    name = architecture_name(architecture) if architecture else ""
    if name is None:
        raise _unusable(
            f"There is no detector architecture {architecture!r}: `tuneyard models list` lists all of them;"
            " without one named, it is told from the weights."
        )
    for tensor, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise _unusable(f"{tensor} holds values that are not finite: the weights are of no use.")
    refusals = []
    for candidate in [name] if name else _candidates(weights):
        try:
            model = detector_model.with_weights(candidate, classes, weights)
        except ValueError as error:
            refusals.append(f"{candidate}: {error}")
            continue
        detector_model.save_detector(
            result, model, architecture=candidate, classes=classes, image_size=_IMAGE_SIZE
        )
        return Converted(
            architecture=candidate,
            detail=f"{candidate} of ultralytics, {counted(len(classes), 'class')} ({kind})",
            tasks=("object_detector",),
        )
    raise _unusable(f"No detector architecture has exactly these weights ({'; '.join(refusals[:2])}).")


def _candidates(weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Every architecture, those of about this size first."""
    sizes = detector_sizes()
    count = sum(value.numel() for name, value in weights.items() if not name.endswith(_BUFFERS))
    yield from sorted(DETECTOR_ARCHITECTURES, key=lambda name: abs(sizes[name].parameters - count))


def _unusable(message: str) -> RecipeError:
    return RecipeError(message, reason="BASE_MODEL_UNAVAILABLE")
