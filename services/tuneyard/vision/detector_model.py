"""A detector's network and its files: built from a known architecture, stored and loaded without pickle."""

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.json_files import write_json
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES, architecture_name
from tuneyard.vision.detector_offline import ROOT, YAML, Detect, DetectionModel, torch_safe_load

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
STRIDE = 32
"""Both sides of an input are multiples of this."""
PADDING = 114
"""The grey, of 255, around images that do not fill their input."""

_CLASS_BRANCH = re.compile(r"model\.\d+\.cv3\.0\.2\.(?:weight)")


@dataclass(frozen=True)
class LoadedDetector:
    """A stored detector, ready to be asked: `model` is in evaluation mode, in float32, not fused."""

    model: nn.Module
    architecture: str
    classes: tuple[str, ...]
    image_size: int


class UltralyticsCheckpoint(NamedTuple):
    """What a `.pt` file of ultralytics holds that is of use here."""

    weights: dict[str, Tensor]
    """In float32; the moving average where there is one."""
    architecture: str | None
    """One of `DETECTOR_ARCHITECTURES`; None where the file does not tell a known one."""
    classes: tuple[str, ...]


def build(architecture: str, classes: Sequence[str], *, class_width: int | None = None) -> nn.Module:
    """The network with random weights, in training mode.

    `class_width` is the width of the head's class branch, which otherwise follows from the number of classes:
    a network that began with the weights of another set of classes keeps the width of that one.
    Raises KeyError for an unknown architecture.
    """
    model = _network(architecture, len(classes))
    model.names = dict(enumerate(classes))
    head = _head(model)
    if class_width is not None and head.cv3[0][-1].in_channels != class_width:
        _widen(head, _network(architecture, class_width))
    # The head that needs overlapping boxes removed is the one that every family has.
    model.end2end = False
    return cast(nn.Module, model)


def _network(architecture: str, classes: int) -> Any:
    known = DETECTOR_ARCHITECTURES[architecture]
    description: dict[str, Any] = YAML.load(ROOT / "cfg" / "models" / known.file)  # type: ignore[no-untyped-call]
    description |= {"scale": known.scale, "yaml_file": f"{known.name}.yaml"}
    return DetectionModel(description, nc=classes, verbose=False)  # type: ignore[no-untyped-call]


def _head(model: nn.Module) -> Any:
    head = cast(Any, model).model[-1]
    if not isinstance(head, Detect):
        raise TypeError(f"a head of detectors was expected, not {type(head).__name__}")
    return head


def _widen(head: Any, donor: nn.Module) -> None:
    """Gives the class branches the width of the donor's, with as many classes as before."""
    for name in ("cv3", "one2one_cv3"):
        own, other = getattr(head, name, None), getattr(_head(donor), name, None)
        if own is None or other is None:
            continue
        for before, after in zip(own, other, strict=True):
            after[-1] = nn.Conv2d(after[-1].in_channels, before[-1].out_channels, 1)
        setattr(head, name, other)
    head.bias_init()


def class_branch(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many classes the weights of a detector are for, and the width of their class branch.

    Raises ValueError if there is no such branch.
    """
    for name, value in weights.items():
        if _CLASS_BRANCH.fullmatch(name):
            return value.shape[0], value.shape[1]
    raise ValueError("the weights have no class branch of a detector's head")


def with_weights(architecture: str, classes: Sequence[str], weights: Mapping[str, Tensor]) -> nn.Module:
    """The network with these weights, which must be for as many classes.

    Raises ValueError naming what does not fit.
    """
    number, width = class_branch(weights)
    if number != len(classes):
        raise ValueError(f"the weights are for {number} classes, and {len(classes)} are named")
    model = build(architecture, classes, class_width=width)
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    unfit = sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    if missing or unknown or unfit:
        word, names = next(
            (word, names)
            for word, names in (
                ("lack", missing),
                ("have unknown", unknown),
                ("have another shape of", unfit),
            )
            if names
        )
        raise ValueError(f"the weights are not those of {architecture}: they {word} {', '.join(names[:3])}")
    model.load_state_dict(dict(weights))
    return model


def adopt(model: nn.Module, architecture: str, weights: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    """Begins with the weights of a detector for other classes: all but the last layer of the head is taken.

    The rows of classes that both have are taken by name; `classes` are those of the weights, and may be empty
    where they are unknown. Raises ValueError if the weights are not of this architecture.
    """
    number, _ = class_branch(weights)
    names = tuple(classes) if len(classes) == number else tuple(f"\0{n}" for n in range(number))
    source = with_weights(architecture, names, weights)
    cast(Any, model).load(source, verbose=False)
    cast(Any, model).end2end = False


def save_detector(
    folder: Path, model: nn.Module, *, architecture: str, classes: Sequence[str], image_size: int
) -> None:
    """Writes `model.safetensors` and `config.json`, all that is needed to build the detector again."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    write_json(
        folder / CONFIG_FILE,
        {
            "format_version": 1,
            "task": "object_detector",
            "architecture": architecture,
            "classes": list(classes),
            "image_size": image_size,
            "preprocessing": {
                "colours": "RGB",
                "scale": 1 / 255,
                "longer_side": image_size,
                "interpolation": "bilinear",
                "padding": PADDING,
                "multiple_of": STRIDE,
            },
        },
    )


def load_detector(folder: Path, *, device: str | torch.device = "cpu") -> LoadedDetector:
    """The detector whose two files lie in a folder; raises RecipeError BASE_MODEL_UNAVAILABLE for others."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        classes = tuple(str(name) for name in config["classes"])
        model = with_weights(config["architecture"], classes, load_file(folder / WEIGHTS_FILE))
        image_size = int(config["image_size"])
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise _unusable("The stored detector cannot be loaded", error) from error
    return LoadedDetector(model.to(device).eval(), config["architecture"], classes, image_size)


def load_ultralytics_checkpoint(file: Path) -> UltralyticsCheckpoint:
    """The weights in a `.pt` file of ultralytics, without running anything that it holds.

    Only ultralytics' and torch's own classes are unpickled. Raises RecipeError BASE_MODEL_UNAVAILABLE for
    every other file, and for models of another task.
    """
    # ultralytics looks for the file under another name, and then on the network, where there is a quote.
    if file.suffix != ".pt" or "'" in str(file) or not file.is_file():
        raise _unusable("The file is no checkpoint of ultralytics (.pt)")
    try:
        content, _ = torch_safe_load(str(file), safe_only=True)  # type: ignore[no-untyped-call]
        model = content.get("ema") or content.get("model")
    except (TypeError, AttributeError, ImportError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise _unusable("The checkpoint cannot be loaded safely", error) from error
    except pickle.UnpicklingError as error:
        raise _unusable("The checkpoint cannot be loaded safely", error) from error
    if not isinstance(model, DetectionModel) or type(model) is not DetectionModel:
        raise _unusable(f"The checkpoint holds no detector but a {type(model).__name__}")
    try:
        weights = {name: value.float() for name, value in _plain_state(model).items()}
        number, _ = class_branch(weights)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unusable("The checkpoint's detector is damaged", error) from error
    return UltralyticsCheckpoint(weights, _told_architecture(model), _told_classes(model, number))


def _plain_state(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    # Counters of batches stay whole numbers: only they are not floating-point.
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _told_architecture(model: Any) -> str | None:
    description = getattr(model, "yaml", None)
    if not isinstance(description, dict):
        return None
    name = architecture_name(Path(str(description.get("yaml_file", ""))).name)
    if name:
        return name
    stem = Path(str(description.get("yaml_file", ""))).stem
    return architecture_name(f"{stem}{description.get('scale', '')}")


def _told_classes(model: Any, number: int) -> tuple[str, ...]:
    names = getattr(model, "names", None)
    if isinstance(names, dict) and set(names) == set(range(number)):
        return tuple(str(names[position]) for position in range(number))
    return tuple(str(position) for position in range(number))


def _unusable(message: str, error: Exception | None = None) -> RecipeError:
    detail = ""
    if error is not None:
        # Messages of libraries name paths; those of this module do not.
        detail = f": {error}" if type(error) is ValueError else f": {type(error).__name__}"
    return RecipeError(
        f"{message}{detail}.",
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=("Import the model again: `tuneyard models import FILE`.",),
    )
