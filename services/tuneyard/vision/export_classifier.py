"""Converts a finished classifier to another format, proves that, and stores it: read from top to bottom.

Nothing is stored before it has passed its check. It computes on the processor.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tuneyard.datasets import FolderSource, image_folder
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Result, Run
from tuneyard.vision.export_check import CheckInputs, check, noise, spread
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.export_faults import converting, machine_faults_are_told
from tuneyard.vision.export_files import Converted, save
from tuneyard.vision.export_onnx import OPSET, OnnxModel, write_onnx
from tuneyard.vision.export_openvino import OpenVinoModel, write_openvino
from tuneyard.vision.pixels import Pixels, decode
from tuneyard.vision.stored_classifier import CONFIG, WEIGHTS, StoredClassifier, load_stored

_CHECKED_IMAGES = 8


def export(config: ExportConfig, run: Run) -> Result:
    """Writes the model in the wanted format. Raises RecipeError and Stopped."""
    torch.set_num_threads(run.cpu_threads)
    with run.stage("load_model"), machine_faults_are_told(run.work_dir):
        source = run.source_artifacts()
        stored = load_stored(source)
        shutil.copyfile(source / CONFIG, run.work_dir / CONFIG)
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


def convert(config: ExportConfig, stored: StoredClassifier, inputs: CheckInputs, run: Run) -> Converted:
    """The converted model, proved to compute the same."""
    match config.format:
        case "safetensors":
            return _to_safetensors(run.work_dir, stored, inputs)
        case "onnx":
            return _to_onnx(run.work_dir, stored, inputs, threads=run.cpu_threads)
        case "openvino":
            return _to_openvino(run.work_dir, stored, inputs, threads=run.cpu_threads)
        case "torchscript":
            return _to_torchscript(run.work_dir, stored, inputs)
        case other:
            raise RecipeError(f"A classifier is not exported as {other}.", reason="NOT_SUPPORTED")


def check_inputs(config: ExportConfig, stored: StoredClassifier, run: Run) -> CheckInputs:
    """A few images of the training's dataset, as the network takes them; else generated ones."""
    if config.dataset:
        try:
            files = run.dataset()
        except RecipeError:
            run.log(f"{config.dataset} cannot be had: the converted model is tried on generated inputs.")
        else:
            index = image_folder.index(FolderSource(files.dir)).without(files.report.excluded)
            picked = [index.samples[at] for at in spread(len(index.samples), _CHECKED_IMAGES)]
            images = [decode(files.dir / sample.path, side=stored.stored_side) for sample in picked]
            if images:
                every = torch.arange(len(images))
                pixels = Pixels(torch.from_numpy(np.stack(images)), every, torch.zeros_like(every))
                rendered = stored.augmenter(torch.device("cpu")).plain(pixels, every)
                return CheckInputs(rendered.contiguous(), f"images of {config.dataset}")
    return noise(count=_CHECKED_IMAGES, image_size=stored.image_size)


def _to_safetensors(folder: Path, stored: StoredClassifier, inputs: CheckInputs) -> Converted:
    state = {name: value.contiguous() for name, value in stored.model.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    again = load_stored(folder)
    checked = check(stored.model, again.model, inputs, format="safetensors")
    return Converted((folder / WEIGHTS,), checked, {})


def _to_onnx(folder: Path, stored: StoredClassifier, inputs: CheckInputs, *, threads: int) -> Converted:
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with converting("ONNX", stored.architecture, folder):
        files = write_onnx(folder, stored.model, inputs.images, outputs=["logits"], facts=settings)
        model = OnnxModel(files[0], threads=threads)
    checked = check(stored.model, model, inputs, format="ONNX")
    return Converted(tuple(files), checked, {"opset": OPSET, **_shapes(stored)})


def _to_openvino(folder: Path, stored: StoredClassifier, inputs: CheckInputs, *, threads: int) -> Converted:
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with converting("OpenVINO", stored.architecture, folder):
        onnx_file, *_ = write_onnx(folder, stored.model, inputs.images, outputs=["logits"], facts={})
        files = write_openvino(onnx_file, facts=settings)
        model = OpenVinoModel(files[0], threads=threads)
    checked = check(stored.model, model, inputs, format="OpenVINO")
    return Converted(tuple(files), checked, _shapes(stored))


def _to_torchscript(folder: Path, stored: StoredClassifier, inputs: CheckInputs) -> Converted:
    path = folder / "model.torchscript.pt"
    with converting("TorchScript", stored.architecture, folder), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(stored.model, inputs.images[:1])  # type: ignore[no-untyped-call]
        # By way of a file: at a full disk torch's own writer of paths ends the process.
        with path.open("wb") as file:
            torch.jit.save(script, file)
        again = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    checked = check(stored.model, again, inputs, format="TorchScript")
    return Converted((path,), checked, {})


def _shapes(stored: StoredClassifier) -> dict[str, Any]:
    return {
        "input": {"name": "images", "shape": ["batch", 3, stored.image_size, stored.image_size]},
        "output": {"name": "logits", "shape": ["batch", len(stored.classes)]},
    }
