"""Converts a finished detector to another format, proves that, and stores it: read from top to bottom.

Nothing is stored before it has passed its check. It computes on the processor. The files of ONNX and
TorchScript carry ultralytics' own facts, so that its `YOLO` class opens them too.
"""

import copy
import json
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from tuneyard.datasets import yolo
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Result, Run
from tuneyard.vision.detector_model import (
    CONFIG_FILE,
    PADDING,
    STRIDE,
    WEIGHTS_FILE,
    LoadedDetector,
    load_detector,
    load_ultralytics_checkpoint,
    save_detector,
    with_weights,
)
from tuneyard.vision.detector_offline import DEFAULT_CFG
from tuneyard.vision.detector_predictor import place, upright_pixels
from tuneyard.vision.evaluate_detector import load_source
from tuneyard.vision.export_check import CheckInputs, Forward, check, noise, spread
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.export_faults import converting, machine_faults_are_told
from tuneyard.vision.export_files import Converted, save
from tuneyard.vision.export_onnx import OPSET, OnnxModel, write_onnx
from tuneyard.vision.export_openvino import OpenVinoModel, write_openvino

_CHECKED_IMAGES = 4
_OUTPUT = "output0"


def export(config: ExportConfig, run: Run) -> Result:
    """Writes the model in the wanted format. Raises RecipeError and Stopped."""
    torch.set_num_threads(run.cpu_threads)
    with run.stage("load_model"), machine_faults_are_told(run.work_dir):
        stored, _ = load_source(run.source_artifacts())
        save_detector(
            run.work_dir,
            stored.model,
            architecture=stored.architecture,
            classes=stored.classes,
            image_size=stored.image_size,
        )
    with run.stage("prepare_data"):
        inputs = check_inputs(config, stored, run)
    run.check_stop()
    run.fault("convert")
    with run.stage("convert", config.format), machine_faults_are_told(run.work_dir):
        converted = convert(config, stored, inputs, run)
    run.check_stop()

    run.finalizing()
    name = f"{stored.architecture} as {config.format}"
    model = {"architecture": stored.architecture, "classes": list(stored.classes)}
    save(config, converted, run, name=name, model=model)
    return Result(
        metrics={"export/max_abs_difference": converted.check.max_abs_difference},
        step=0,
        summary=f"{name}. {converted.check.summary}",
    )


def convert(config: ExportConfig, stored: LoadedDetector, inputs: CheckInputs, run: Run) -> Converted:
    """The converted model, proved to compute the same."""
    match config.format:
        case "safetensors":
            again = load_detector(run.work_dir)
            checked = check(_outputs(stored), _normalised(again.model, again), inputs, format="safetensors")
            return Converted((run.work_dir / WEIGHTS_FILE,), checked, {})
        case "onnx":
            return _to_onnx(run.work_dir, stored, inputs, threads=run.cpu_threads)
        case "openvino":
            return _to_openvino(run.work_dir, stored, inputs, threads=run.cpu_threads)
        case "torchscript":
            return _to_torchscript(run.work_dir, stored, inputs)
        case "ultralytics":
            return _to_ultralytics(run.work_dir, stored, inputs)


def check_inputs(config: ExportConfig, stored: LoadedDetector, run: Run) -> CheckInputs:
    """A few images of the training's dataset, as the network takes them; else generated ones."""
    if config.dataset:
        try:
            files = run.dataset()
        except RecipeError:
            run.log(f"{config.dataset} cannot be had: the converted model is tried on generated inputs.")
        else:
            index = yolo.index(files.dir, files.report)
            samples = [sample for split in index.splits.values() for sample in split]
            picked = [samples[at] for at in spread(len(samples), _CHECKED_IMAGES)]
            if picked:
                images = [_square(index.root / sample.path, stored.image_size) for sample in picked]
                return CheckInputs(torch.stack(images), f"images of {config.dataset}")
    made = noise(count=_CHECKED_IMAGES, image_size=stored.image_size)
    return CheckInputs(made.images.sigmoid(), made.source)


def _square(path: Path, side: int) -> Tensor:
    """An image as the network takes it, (3, side, side), 0 to 1."""
    with Image.open(path) as image:
        batch, _ = place([upright_pixels(image)], side)
    canvas = np.full((side, side, 3), PADDING, dtype=np.uint8)
    height, width = batch.shape[1:3]
    canvas[:height, :width] = batch[0]
    return torch.from_numpy(canvas).permute(2, 0, 1).float().div_(255).contiguous()


class ExportedDetector(nn.Module):
    """The network with decoded boxes as its one output: (n, 4 + classes, anchors), as ultralytics exports."""

    def __init__(self, stored: LoadedDetector, *, format: str) -> None:
        super().__init__()
        model = copy.deepcopy(cast(Any, stored.model)).fuse(verbose=False).eval()
        head = model.model[-1]
        head.export, head.format, head.dynamic = True, format, False
        head.shape = None
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Boxes as x, y, width, height in px of the input, then a score for each class."""
        found = self.model(images)
        return cast(Tensor, found[0] if isinstance(found, tuple | list) else found)


def _outputs(stored: LoadedDetector) -> Forward:
    """What the original gives, boxes as shares of the input, so that all outputs are about 1 at most."""
    return _normalised(stored.model, stored)


def _normalised(forward: Any, stored: LoadedDetector) -> Forward:
    def run(images: Tensor) -> Tensor:
        found = forward(images)
        decoded = found[0] if isinstance(found, tuple | list) else found
        return torch.cat([decoded[:, :4] / stored.image_size, decoded[:, 4:]], dim=1)

    return run


def _facts(stored: LoadedDetector) -> dict[str, str]:
    """What ultralytics reads from an exported file, in its own words and spelling."""
    return {
        "description": f"{stored.architecture}, exported by tuneyard",
        "task": "detect",
        "stride": str(STRIDE),
        "batch": "1",
        "channels": "3",
        "imgsz": str([stored.image_size, stored.image_size]),
        "names": str(dict(enumerate(stored.classes))),
        "end2end": "False",
    }


def _to_onnx(folder: Path, stored: LoadedDetector, inputs: CheckInputs, *, threads: int) -> Converted:
    facts = _facts(stored) | {"tuneyard": (folder / CONFIG_FILE).read_text(encoding="utf-8")}
    with converting("ONNX", stored.architecture, folder):
        network = ExportedDetector(stored, format="onnx")
        files = write_onnx(folder, network, inputs.images, outputs=[_OUTPUT], facts=facts)
        model = OnnxModel(files[0], threads=threads)
    checked = check(_outputs(stored), _normalised(model, stored), inputs, format="ONNX")
    return Converted(tuple(files), checked, {"opset": OPSET, **_shapes(stored)})


def _to_openvino(folder: Path, stored: LoadedDetector, inputs: CheckInputs, *, threads: int) -> Converted:
    facts = _facts(stored)
    settings = {"tuneyard": (folder / CONFIG_FILE).read_text(encoding="utf-8")}
    with converting("OpenVINO", stored.architecture, folder):
        network = ExportedDetector(stored, format="onnx")
        onnx_file, *_ = write_onnx(folder, network, inputs.images, outputs=[_OUTPUT], facts={})
        files = write_openvino(onnx_file, facts=settings)
        model = OpenVinoModel(files[0], threads=threads)
    checked = check(_outputs(stored), _normalised(model, stored), inputs, format="OpenVINO")
    # In a folder whose name ends in _openvino_model, ultralytics opens the three files.
    beside = folder / "metadata.yaml"
    beside.write_text(yaml.safe_dump({name: yaml.safe_load(text) for name, text in facts.items()}))
    return Converted((*files, beside), checked, _shapes(stored))


def _to_torchscript(folder: Path, stored: LoadedDetector, inputs: CheckInputs) -> Converted:
    path = folder / "model.torchscript"
    with converting("TorchScript", stored.architecture, folder), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        network = ExportedDetector(stored, format="torchscript")
        network(inputs.images[:1])
        script = torch.jit.trace(network, inputs.images[:1])  # type: ignore[no-untyped-call]
        # The name under which ultralytics looks for its facts.
        extra = {"config.txt": json.dumps(_facts(stored))}
        # By way of a file: at a full disk torch's own writer of paths ends the process.
        with path.open("wb") as file:
            torch.jit.save(script, file, _extra_files=extra)
        again = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    checked = check(_outputs(stored), _normalised(again, stored), inputs, format="TorchScript")
    return Converted((path,), checked, _shapes(stored))


def _to_ultralytics(folder: Path, stored: LoadedDetector, inputs: CheckInputs) -> Converted:
    import ultralytics

    path = folder / "model.pt"
    model = copy.deepcopy(cast(Any, stored.model))
    model.task, model.args = "detect", {"task": "detect", "imgsz": stored.image_size}
    arguments = vars(DEFAULT_CFG) | {"imgsz": stored.image_size, "model": f"{stored.architecture}.yaml"}
    content = {
        "epoch": -1,
        "best_fitness": None,
        "model": model,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": arguments,
        "date": "",
        "version": ultralytics.__version__,
    }
    with path.open("wb") as file:
        torch.save(content, file)
    again = load_ultralytics_checkpoint(path)
    network = with_weights(stored.architecture, stored.classes, again.weights).eval()
    if again.classes != stored.classes or again.architecture != stored.architecture:
        raise RecipeError(
            "The checkpoint does not tell the model's classes and architecture; it is not kept."
        )
    checked = check(_outputs(stored), _normalised(network, stored), inputs, format="Ultralytics")
    return Converted((path,), checked, {"ultralytics": ultralytics.__version__})


def _shapes(stored: LoadedDetector) -> dict[str, Any]:
    side = stored.image_size
    return {
        "input": {"name": "images", "shape": ["batch", 3, side, side]},
        "output": {"name": _OUTPUT, "shape": ["batch", 4 + len(stored.classes), "anchors"]},
        "checked_outputs": "boxes as shares of the input, scores as they are",
    }
