"""Converts a finished classifier to another format, proves that, and stores it: read from top to bottom.

Nothing is stored before it has passed its check. It computes on the processor.
"""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tuneyard.datasets import FolderSource, image_folder
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import ArtifactKind, Result, Run
from tuneyard.vision.export_check import Check, CheckInputs, cannot_convert, check, noise, spread
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.export_onnx import OPSET, OnnxModel, write_onnx
from tuneyard.vision.pixels import Pixels, decode
from tuneyard.vision.stored_classifier import CONFIG, WEIGHTS, StoredClassifier, load_stored
from tuneyard.vision.weights import write_json

_CHECKED_IMAGES = 8
_MEDIA_TYPES = {".json": "application/json"}


@dataclass(frozen=True)
class Converted:
    """A model in its new format, on disk and proved."""

    files: tuple[Path, ...]
    check: Check
    facts: dict[str, Any]
    """What else the manifest tells of the format."""


def export(config: ExportConfig, run: Run) -> Result:
    """Writes the model in the wanted format. Raises RecipeError and Stopped."""
    torch.set_num_threads(run.cpu_threads)
    with run.stage("load_model"):
        source = run.source_artifacts()
        stored = load_stored(source)
        shutil.copyfile(source / CONFIG, run.work_dir / CONFIG)
    with run.stage("prepare_data"):
        inputs = check_inputs(config, stored, run)
    run.check_stop()
    run.fault("convert")
    with run.stage("convert", config.format):
        converted = convert(config, stored, inputs, run)
    run.check_stop()

    run.finalizing()
    save(config, stored, converted, run)
    return Result(
        metrics={"export/max_abs_difference": converted.check.max_abs_difference},
        step=0,
        summary=f"{stored.architecture} as {config.format}. {converted.check.summary}",
    )


def convert(config: ExportConfig, stored: StoredClassifier, inputs: CheckInputs, run: Run) -> Converted:
    """The converted model, proved to compute the same."""
    match config.format:
        case "safetensors":
            return _to_safetensors(run.work_dir, stored, inputs)
        case "onnx":
            return _to_onnx(run.work_dir, stored, inputs, threads=run.cpu_threads)
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
    try:
        files = write_onnx(folder, stored.model, inputs.images, outputs=["logits"], facts=settings)
        model = OnnxModel(files[0], threads=threads)
    except Exception as error:  # exporters raise nearly anything on a network that they cannot follow
        raise cannot_convert("ONNX", stored.architecture, error) from error
    checked = check(stored.model, model, inputs, format="ONNX")
    facts = {
        "opset": OPSET,
        "input": {"name": "images", "shape": ["batch", 3, stored.image_size, stored.image_size]},
        "output": {"name": "logits", "shape": ["batch", len(stored.classes)]},
    }
    return Converted(tuple(files), checked, facts)


def _to_torchscript(folder: Path, stored: StoredClassifier, inputs: CheckInputs) -> Converted:
    path = folder / "model.torchscript.pt"
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            script = torch.jit.trace(stored.model, inputs.images[:1])  # type: ignore[no-untyped-call]
            torch.jit.save(script, str(path))
            again = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise cannot_convert("TorchScript", stored.architecture, error) from error
    checked = check(stored.model, again, inputs, format="TorchScript")
    return Converted((path,), checked, {})


def save(config: ExportConfig, stored: StoredClassifier, converted: Converted, run: Run) -> None:
    """Hands over every file; the manifest last."""
    for path in (*converted.files, run.work_dir / CONFIG):
        run.save_artifact(
            path,
            name=path.name,
            kind=ArtifactKind.MODEL,
            media_type=_MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
            description=(
                "Architecture, classes and preprocessing"
                if path.name == CONFIG
                else f"{stored.architecture} as {config.format}"
            ),
        )
    manifest = run.manifest(
        source_job=config.source_job,
        format=config.format,
        model={"architecture": stored.architecture, "classes": list(stored.classes)},
        check=converted.check.facts,
        **converted.facts,
    )
    run.save_artifact(
        write_json(run.work_dir / "manifest.json", manifest),
        name="manifest.json",
        kind=ArtifactKind.MANIFEST,
        media_type="application/json",
        description="Request, source, format and the comparison with the original",
    )
