"""Writes a network as ONNX and runs such a file on the processor. Knows nothing of classes or boxes."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 20
INPUT = "images"
_LARGEST_PROTOBUF_BYTES = 1_800_000_000
"""A protobuf file ends at 2 GiB: weights beyond lie in a file beside it."""


def write_onnx(
    folder: Path, model: nn.Module, example: Tensor, *, outputs: Sequence[str], facts: Mapping[str, Any]
) -> list[Path]:
    """Writes model.onnx with a free batch size; returns the files, the model first.

    `facts` go into the file's metadata, values that are no strings as JSON.
    """
    import onnx

    path = folder / "model.onnx"
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            # With two samples, since the exporter takes 1 for a constant.
            (example[:1].repeat(2, 1, 1, 1),),
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        program.model.metadata_props[name] = text
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    program.save(str(path), external_data=size > _LARGEST_PROTOBUF_BYTES)
    onnx.checker.check_model(str(path))
    return [path, *sorted(folder.glob("model.onnx.*"))]


class OnnxModel:
    """A file that onnxruntime computes on the processor."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Tensor:
        """The first output."""
        [first, *_] = self._session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(first)


class _quiet:
    """Keeps the exporter's log of its own steps out of the worker's."""

    def __enter__(self) -> None:
        self._before = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
        for name in self._before:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, level in self._before.items():
            logging.getLogger(name).setLevel(level)
