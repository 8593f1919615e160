"""Writes an ONNX file in OpenVINO's own format and runs it on the processor. Knows no classes and no boxes.

OpenVINO's reader and writer are used, not its converter: that one may tell its makers of its use.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_FACTS = "tuneyard"
"""Where the facts stand in the file, below `rt_info`."""


def write_openvino(onnx_file: Path, *, facts: Mapping[str, Any]) -> list[Path]:
    """Writes model.xml and model.bin beside an ONNX file, its weights at float32; returns the two.

    `facts` go into model.xml, values that are no strings as JSON.
    """
    import openvino

    model = openvino.Core().read_model(onnx_file)
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.set_rt_info(text, [_FACTS, name])
    path = onnx_file.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=False)
    return [path, path.with_suffix(".bin")]


class OpenVinoModel:
    """A file that OpenVINO computes on the processor at float32."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import openvino

        # By itself it would compute with bfloat16 where the processor can.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._compiled = openvino.Core().compile_model(path, "CPU", settings)

    def __call__(self, images: Tensor) -> Tensor:
        """The first output."""
        found = self._compiled(images.contiguous().numpy())
        return torch.from_numpy(found[0].copy())
