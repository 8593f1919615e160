"""Recognises the weights of a classifier, checks that all fit, and stores them as torchvision names them."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tuneyard.datasets.words import counted
from tuneyard.trainer.convert_child import Converted
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.json_files import write_json
from tuneyard.vision import layouts, networks
from tuneyard.vision.architectures import Architecture, architectures
from tuneyard.vision.weight_files import WeightFiles, without_prefix
from tuneyard.vision.weights import RESCALING

_AUXILIARY = ("aux.", "aux1.", "aux2.", "AuxLogits.")
"""Heads of googlenet and inception_v3 that only their first training used."""
_COUNTER = "num_batches_tracked"
_TRANSFORMERS_MEAN = _TRANSFORMERS_STD = (0.5, 0.5, 0.5)
"""What transformers' ViT is trained with where no file says otherwise."""
_BUFFERS = ("running_mean", "running_var", "relative_coords_table")
_SHOWN = 5
_TRIED, _TRIED_WITH_USUAL_HEAD = 16, 4
"""Architectures that weights are compared with where none is named."""


@dataclass(frozen=True)
class Fit:
    """How weights compare with an architecture."""

    architecture: Architecture
    image_size: int
    classes: int
    """Outputs of the head; 0 where the weights have none."""
    wanted: int
    """Tensors that the architecture has beside the head."""
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def wrong(self) -> int:
        """Tensors that do not fit; 0 for the right architecture."""
        return len(self.missing) + len(self.misshapen) + len(self.unknown)

    def __str__(self) -> str:
        parts = (("missing", self.missing), ("of another shape", self.misshapen), ("unknown", self.unknown))
        return "; ".join(
            f"{len(names)} {word}: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
            for word, names in parts
            if names
        )


def convert(files: WeightFiles, result: Path, *, architecture: str) -> Converted:
    """Writes model.safetensors and config.json; raises RecipeError BASE_MODEL_UNAVAILABLE."""
    state, kind = _in_torchvision_layout(files)
    named = architecture or str(files.config.get("architecture", ""))
    fit = _judged(state, named) if named else recognise(state)
    if fit.wrong:
        name = fit.architecture.name
        raise _unusable(
            f"The weights are not those of {name}: {fit}."
            if named
            else f"No architecture of torchvision has exactly these weights; the closest is {name}: {fit}."
        )
    state = _complete(state)
    classes = _class_names(files.config, fit.classes)
    save_file(state, result / "model.safetensors", metadata={"format": "pt"})
    write_json(result / "config.json", _config(fit, classes))
    told = counted(fit.classes, "class") if fit.classes else "without a head"
    return Converted(
        architecture=fit.architecture.name,
        detail=f"{fit.architecture.name} of torchvision, {told}, {fit.image_size} px ({kind})",
        tasks=("image_classifier",),
    )


def recognise(state: Mapping[str, Tensor]) -> Fit:
    """The architecture whose weights these are, or else the one that comes closest."""
    best: Fit | None = None
    for architecture in _candidates(state):
        fit = compare(state, architecture)
        if not fit.wrong:
            return fit
        if best is None or fit.wrong < best.wrong:
            best = fit
    assert best is not None
    return best


def _candidates(state: Mapping[str, Tensor]) -> list[Architecture]:
    """Those architectures whose number of weights is closest: with the head that fits the number best, and
    after these with the usual head, since some number of classes explains nearly any size of small networks.
    """
    count = sum(
        value.numel()
        for name, value in state.items()
        if value.is_floating_point() and not name.startswith(_AUXILIARY) and not name.endswith(_BUFFERS)
    )

    def distance(architecture: Architecture) -> float:
        body = architecture.parameters_for(0)
        classes = max(0, round((count - body) / architecture.parameters_per_class))
        # A head of a few thousand classes is as good as none; one of millions speaks for another body.
        return abs(count - architecture.parameters_for(classes)) + architecture.parameters * (
            classes > 50_000
        )

    def distance_with_usual_head(architecture: Architecture) -> int:
        return abs(count - architecture.parameters)

    by_any_head = sorted(architectures().values(), key=distance)[:_TRIED]
    by_usual_head = sorted(architectures().values(), key=distance_with_usual_head)[:_TRIED_WITH_USUAL_HEAD]
    return [*by_any_head, *(each for each in by_usual_head if each not in by_any_head)]


def compare(state: Mapping[str, Tensor], architecture: Architecture) -> Fit:
    """Names and shapes against the architecture's; the head may have any number of classes, or be absent."""
    image_size = _image_size(state, architecture)
    own, head = _shapes(architecture.name, image_size)
    offered = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
    wanted = {name: shape for name, shape in own.items() if name not in head and not name.endswith(_COUNTER)}
    heads = [name for name in head if name in offered]
    classes = {offered[name].shape[0] for name in heads if offered[name].dim()}
    misshapen = [name for name in wanted if name in offered and offered[name].shape != wanted[name]]
    misshapen += [name for name in heads if offered[name].shape[1:] != own[name][1:]]
    missing = [name for name in wanted if name not in offered]
    if len(heads) not in (0, len(head)) or len(classes) > 1:
        missing += [name for name in head if name not in heads] or ["a head whose parts agree"]
    return Fit(
        architecture=architecture,
        image_size=image_size,
        classes=classes.pop() if len(classes) == 1 else 0,
        wanted=len(wanted),
        missing=tuple(missing),
        misshapen=tuple(misshapen),
        unknown=tuple(name for name in offered if name not in own),
    )


def _shapes(architecture: str, image_size: int) -> tuple[dict[str, torch.Size], list[str]]:
    """The shapes of an architecture's state with 1000 classes, and which of its names are the head's."""
    with _EmptyOnMeta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = networks.build(architecture, classes=1000, image_size=image_size)
    last = {id(value) for value in networks.head(model).parameters()}
    head = [name for name, value in model.named_parameters() if id(value) in last]
    return {name: value.shape for name, value in model.state_dict().items()}, head


class _EmptyOnMeta(TorchFunctionMode):
    """Parameters without memory. Not `torch.device("meta")`: regnets compute their widths with tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


def _image_size(state: Mapping[str, Tensor], architecture: Architecture) -> int:
    """224, or what the number of a transformer's positions says."""
    positions = state.get("encoder.pos_embedding")
    if not architecture.name.startswith("vit_") or positions is None or positions.dim() != 3:
        return max(224, architecture.minimum_size)
    side = math.isqrt(positions.shape[1] - 1)
    return side * architecture.size_multiple if side * side == positions.shape[1] - 1 and side else 224


def _judged(state: Mapping[str, Tensor], name: str) -> Fit:
    architecture = architectures().get(name)
    if architecture is None:
        raise _unusable(
            f"There is no architecture {name!r}: `tuneyard models list` lists all of them; without one named,"
            " it is told from the weights."
        )
    return compare(state, architecture)


def _in_torchvision_layout(files: WeightFiles) -> tuple[dict[str, Tensor], str]:
    if not layouts.is_transformers_vit(files.state):
        kind = files.config.get("model_type")
        if kind:
            raise _unusable(
                f"The model is a {kind!r} of transformers; of those only image classifiers of type 'vit' are"
                " taken. torchvision's weights of a like architecture are."
            )
        return layouts.modern_names(without_prefix(files.state)), files.source
    reference = architectures()["vit_b_16"]
    state = layouts.from_transformers_vit(
        files.state,
        mean=_triple(files.preprocessor.get("image_mean"), _TRANSFORMERS_MEAN),
        std=_triple(files.preprocessor.get("image_std"), _TRANSFORMERS_STD),
        wanted_mean=reference.mean,
        wanted_std=reference.std,
    )
    return state, f"converted from transformers' ViT, {files.source}"


def _triple(value: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    is_triple = isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float) for x in value)
    return tuple(map(float, value)) if is_triple else default


def _complete(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights to be stored: float32, without auxiliary heads, with the counters that old files lack."""
    complete = {}
    for name, value in state.items():
        if name.startswith(_AUXILIARY):
            continue
        stored = value.float() if value.is_floating_point() else value
        if not stored.isfinite().all():
            raise _unusable(f"{name} holds values that are not finite: the weights are of no use.")
        complete[name] = stored.clone().contiguous()
        if name.endswith("running_var"):
            complete.setdefault(name.replace("running_var", _COUNTER), torch.tensor(0))
    return complete


def _class_names(config: Mapping[str, Any], classes: int) -> list[str]:
    """By position: those that the files tell, else numbers."""
    own = config.get("classes")
    if isinstance(own, list) and len(own) == classes:
        return [str(name) for name in own]
    labels = config.get("id2label")
    if isinstance(labels, dict) and set(labels) == {str(number) for number in range(classes)}:
        return [str(labels[str(number)]) for number in range(classes)]
    return [str(number) for number in range(classes)]


def _config(fit: Fit, classes: list[str]) -> dict[str, Any]:
    """What `predictor` reads of a trained model, so that an imported one can be asked as well."""
    return {
        "format_version": 1,
        "task": "image_classifier",
        "architecture": fit.architecture.name,
        "classes": classes,
        "image_size": fit.image_size,
        "dropout": fit.architecture.head_dropout,
        "transform_input": fit.architecture.name in RESCALING,
        "preprocessing": {
            "resize_shorter_side": round(fit.image_size * 8 / 7),
            "center_crop": fit.image_size,
            "interpolation": "bicubic",
            "mean": list(fit.architecture.mean),
            "std": list(fit.architecture.std),
        },
    }


def _unusable(message: str) -> RecipeError:
    return RecipeError(message, reason="BASE_MODEL_UNAVAILABLE")
