"""Finished trainings of tiny text-to-image models, as their jobs' artifacts, without a training."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from tests.support.tiny_diffusion import Family, tiny_pipeline
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.diffusion.kohya_names import KohyaNames
from tuneyard.diffusion.lora_files import lora_part, save_diffusers, save_kohya
from tuneyard.diffusion.loras import add_loras
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.trainer.base_identity import BaseIdentity, files_sha256
from tuneyard.v1 import job_pb2

BASE = "models/tiny"


@dataclass(frozen=True)
class FinishedTraining:
    """What is left of a job."""

    artifacts: Path
    base: Path
    base_sha256: str
    config: TextToImageConfig
    spec: job_pb2.JobSpec


def finished_training(
    folder: Path, family: Family = "sd", *, text_encoder: bool = False, use_dora: bool = False, **facts: Any
) -> FinishedTraining:
    """The artifacts of a job whose weights were changed at random; `facts` replace those of its manifest."""
    lora = Lora(r=4, alpha=8.0, use_dora=use_dora)
    config = TextToImageConfig(base_model=BASE, lora=lora, resolution=64, precision="fp32")
    made, identity, parts = _weights(family, lora, text_encoder)
    copytree(made.name, folder, dirs_exist_ok=True)
    base, artifacts = folder / "base", folder / "artifacts"
    manifest = {
        "base": asdict(identity),
        "precision": "fp32",
        "kohya": "kohya/tiny.safetensors",
        "prompts": ["a red circle", "a blue star"],
        "parts": sorted(parts),
        **facts,
    }
    (artifacts / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    spec = job_pb2.JobSpec()
    spec.training.base_model = BASE
    spec.training.dataset = "datasets/drawn"
    task = spec.training.text_to_image_lora
    task.resolution = 64
    task.lora.lora_r, task.lora.lora_alpha, task.lora.use_dora = 4, 8, use_dora
    return FinishedTraining(artifacts, base, identity.sha256, config, spec)


@cache
def _weights(
    family: Family, lora: Lora, text_encoder: bool
) -> tuple[TemporaryDirectory[str], BaseIdentity, tuple[str, ...]]:
    """The files of base and adapters, which take longer to make than to copy, and the adapted parts."""
    made = TemporaryDirectory()
    base, artifacts = tiny_pipeline(Path(made.name, "base"), family), Path(made.name, "artifacts")
    (artifacts / "kohya").mkdir(parents=True)
    parts = {name: lora_part(module) for name, module in _changed(base, lora, text_encoder).items()}
    save_diffusers(parts, artifacts)
    save_kohya(
        parts,
        artifacts / "kohya" / "tiny.safetensors",
        KohyaNames(kind=family, layers_per_block=1),
        metadata={"ss_base_model_version": "sd_v1"},
    )
    return made, BaseIdentity(id=BASE, sha256=files_sha256(base)), tuple(parts)


def _changed(base: Path, lora: Lora, text_encoder: bool) -> nn.ModuleDict:
    pipeline, cpu = open_pipeline(base), torch.device("cpu")
    texts = pipeline.load_text_encoders(dtype=torch.float32, device=cpu)
    network = pipeline.load_network(dtype=torch.float32, device=cpu)
    encoders = {name: module for name, module in texts.items() if name != "text_encoder_3"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapted = add_loras(pipeline.index.network, network, encoders if text_encoder else {}, lora)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return adapted
