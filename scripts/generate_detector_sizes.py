"""Writes the table of what ultralytics' detectors weigh, which the trainer's server reads.

The server imports no torch, so what it must know of each architecture is measured once here, on meta tensors.
Run `python scripts/generate_detector_sizes.py` after an update of ultralytics; a test compares the two.
"""

import csv
import io
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tuneyard.vision import detector_model
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.detector_sizes import COLUMNS, REFERENCE_CLASSES, REFERENCE_SIZE, DetectorSize, to_row

TARGET = Path(__file__).parents[1] / "services/tuneyard/vision/detector_sizes.csv"


def meta_model(name: str) -> nn.Module:
    model = detector_model.build(name, [str(number) for number in range(REFERENCE_CLASSES)])
    return model.to("meta").train()


def activation_bytes(model: nn.Module, samples: int) -> int:
    """Bytes that one forward pass keeps for its backward pass at float32, each storage counted once."""
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


def multiply_adds(model: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, REFERENCE_SIZE, REFERENCE_SIZE, device="meta"))
    return int(counter.get_total_flops()) // 2


def row(name: str) -> DetectorSize:
    model = meta_model(name)
    return DetectorSize(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=multiply_adds(model),
        activation_bytes=activation_bytes(model, 2) - activation_bytes(model, 1),
        layers=len(list(model.get_submodule("model").children())),
    )


def table() -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_row(row(name)) for name in DETECTOR_ARCHITECTURES)
    return text.getvalue()


if __name__ == "__main__":
    TARGET.write_text(table())
    sys.stdout.write(f"wrote {TARGET.name}\n")
