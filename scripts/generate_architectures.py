"""Writes the table of torchvision's classification architectures, which the trainer's server reads.

The server imports no torch, so what it must know of each architecture is measured once here, on meta tensors.
Run `python scripts/generate_architectures.py` after an update of torchvision; a test compares the two.
"""

import csv
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from tuneyard.vision import networks
from tuneyard.vision.architectures import COLUMNS, Architecture, to_row

TARGET = Path(__file__).parents[1] / "services/tuneyard/vision/architectures.csv"
REFERENCE_SIZE = 224
_INITIALISERS = (
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "trunc_normal_",
    "uniform_",
    "xavier_uniform_",
)


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Initialisers that do nothing: the values of weights do not matter here, the time does."""
    with ExitStack() as patches:
        for name in _INITIALISERS:
            patches.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def meta_model(name: str, image_size: int = REFERENCE_SIZE) -> nn.Module:
    with no_initialisation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return networks.build(name, classes=1000, image_size=image_size).to("meta").train()


def accepts(model: nn.Module, size: int) -> bool:
    try:
        with torch.no_grad():
            model(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, ValueError):
        return False
    return True


def activation_bytes(model: nn.Module, samples: int) -> int:
    """Bytes that one forward pass keeps for its backward pass, each storage counted once."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.empty(samples, 3, REFERENCE_SIZE, REFERENCE_SIZE, device="meta"))
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def size_rule(name: str, model: nn.Module) -> tuple[int, int]:
    """The smallest image size, and what an image size must be a multiple of."""
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        return patch, patch
    if name.startswith("maxvit_"):
        return 224, 224
    return next(size for size in range(8, 512) if accepts(model, size)), 1


def row(name: str) -> Architecture:
    model = meta_model(name)
    weights = networks.default_weights(name)
    preprocessing = weights.transforms()
    minimum, multiple = size_rule(name, model)
    return Architecture(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameters_per_class=parameters_per_class(model),
        multiply_adds=round(weights.meta["_ops"] * 1e9),
        weights_image_size=preprocessing.crop_size[0],
        minimum_size=minimum,
        size_multiple=multiple,
        activation_bytes=activation_bytes(model, 2) - activation_bytes(model, 1),
        head_dropout=networks.head_dropout(model),
        has_batch_norm=any(isinstance(module, _BatchNorm) for module in model.modules()),
        can_checkpoint=networks.can_checkpoint(model),
        mean=tuple(preprocessing.mean),
        std=tuple(preprocessing.std),
        weights=weights.name,
        weights_file=weights.url.rpartition("/")[2],
    )


def parameters_per_class(model: nn.Module) -> int:
    last = networks.head(model)
    return sum(parameter.numel() for parameter in last.parameters()) // last.weight.shape[0]


def table() -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_row(row(name)) for name in models.list_models(module=models))
    return text.getvalue()


if __name__ == "__main__":
    TARGET.write_text(table())
    sys.stdout.write(f"wrote {TARGET.name}\n")
