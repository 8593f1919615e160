"""A finished training's artifacts as a model that draws: the base pipeline with the trained adapters on it.

For trying, evaluating, merging; nothing is changed. Where the base's files come from is the caller's to say.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import nn

from tuneyard.diffusion.base_source import FoundBase
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.denoiser import Denoiser, TextEncoders
from tuneyard.diffusion.lora_files import WEIGHTS_NAME, LoraPart, read_diffusers
from tuneyard.diffusion.loras import without_loras
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.noise import Prediction
from tuneyard.diffusion.pipeline import Pipeline, open_pipeline
from tuneyard.recipes.precision import Precision, dtype_of, nearest_precision
from tuneyard.trainer.base_identity import BaseIdentity
from tuneyard.trainer.errors import RecipeError

_CLIP_ROOT = "text_model."


@dataclass(frozen=True)
class StoredLora:
    """A finished job's artifacts in a local folder."""

    folder: Path
    parts: Mapping[str, LoraPart]
    """By the part's name in the pipeline."""
    manifest: Mapping[str, Any]
    """What the training wrote down; empty where that is not at hand."""

    @classmethod
    def read(cls, artifacts: Path) -> "StoredLora":
        """Raises RecipeError MODEL_NOT_FOUND where there are no weights that can be read."""
        path = artifacts / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        try:
            return cls(artifacts, read_diffusers(artifacts / WEIGHTS_NAME), manifest)
        except (OSError, ValueError, SafetensorError) as error:
            raise RecipeError(
                "The job's artifacts hold no LoRA weights that can be read.",
                reason="MODEL_NOT_FOUND",
                remedies=("Run the training again.",),
            ) from error

    @property
    def trained_on(self) -> BaseIdentity | None:
        """The base that the manifest names."""
        base = self.manifest.get("base")
        return BaseIdentity(**base) if base else None

    def require_base(self, sha256: str, *, name: str) -> None:
        """Raises RecipeError BASE_MODEL_UNAVAILABLE if a base of this hash is another than was trained on."""
        known = self.trained_on
        if known and known.sha256 and sha256 and known.sha256 != sha256:
            raise RecipeError(
                f"{name} holds other weights than those that the LoRA was trained on.",
                reason="BASE_MODEL_UNAVAILABLE",
                remedies=("Import the weights that it was trained on under that name again.",),
            )

    def precision(self, device: torch.device) -> Precision:
        """That of the training where the device does it well, else the nearest that it does."""
        return nearest_precision(self.manifest.get("precision", "bf16"), device)


@dataclass(frozen=True)
class FinishedPipeline:
    """A pipeline with trained adapters, in evaluation mode."""

    pipeline: Pipeline
    denoiser: Denoiser
    text: TextEncoders
    adapted: nn.ModuleDict
    """Those parts that have adapters."""
    precision: Precision
    prediction: Prediction | None
    """What the network was trained to predict; None: as its pipeline says."""

    @contextmanager
    def scaled(self, scale: float) -> Iterator[None]:
        """Within it, the adapters count so much: 0 is the base, 1 as trained."""
        if not scale:
            with without_loras(self.adapted):
                yield
            return
        self._set(scale)
        try:
            yield
        finally:
            self._set(1.0)

    def _set(self, scale: float) -> None:
        for module in self.adapted.modules():
            if isinstance(module, LoraLayer):
                module.set_scale("default", scale)


def load_finished(
    stored: StoredLora,
    config: TextToImageConfig,
    folder: Path,
    *,
    device: torch.device,
    precision: Precision | None = None,
) -> FinishedPipeline:
    """The base in `folder` with the stored adapters, in the training's precision unless told otherwise.

    Raises RecipeError BASE_MODEL_UNAVAILABLE, also where the adapters do not fit.
    """
    chosen = precision or stored.precision(device)
    return load_with(stored.parts, config, folder, device=device, precision=chosen)


def load_with(
    parts: Mapping[str, LoraPart],
    config: TextToImageConfig,
    folder: Path,
    *,
    device: torch.device,
    precision: Precision,
) -> FinishedPipeline:
    """The pipeline in `folder` with these adapters, or with none. Raises as `load_finished`."""
    pipeline, dtype = open_pipeline(folder), dtype_of(precision)
    prediction: Prediction | None = None if config.prediction_type == "auto" else config.prediction_type
    denoiser = load_denoiser(
        pipeline,
        dtype=dtype,
        device=device,
        prediction=prediction,
        min_snr_gamma=config.min_snr_gamma,
    )
    text = load_text(pipeline, dtype=dtype, device=device)
    modules = {denoiser.part: denoiser.network, **text.modules}
    if unknown := parts.keys() - modules.keys():
        raise _misfit(f"the base has no {sorted(unknown)[0]}")
    for name, part in parts.items():
        attach(modules[name], part)
    adapted = nn.ModuleDict({name: modules[name] for name in parts})
    return FinishedPipeline(pipeline, denoiser, text, adapted.eval(), precision, prediction)


def attach(module: nn.Module, part: LoraPart) -> None:
    """Puts stored adapters, in fp32, into a part of a pipeline. Raises RecipeError BASE_MODEL_UNAVAILABLE."""
    taking: Any = module
    try:
        taking.add_adapter(LoraConfig(**part.settings))
    except (TypeError, ValueError) as error:
        raise _misfit("its layers are not there") from error
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    wanted = get_peft_model_state_dict(taking, adapter_name="default", save_embedding_layers=False)
    weights = {
        name if name in wanted else name.removeprefix(_CLIP_ROOT): value
        for name, value in part.weights.items()
    }
    strange = {name for name, value in weights.items() if name not in wanted or _other(value, wanted[name])}
    if strange or weights.keys() != wanted.keys():
        raise _misfit(f"{len(strange | (wanted.keys() - weights.keys()))} of its weights have no place")
    set_peft_model_state_dict(taking, weights, adapter_name="default")
    module.requires_grad_(False)


def require_same(stored: StoredLora, found: FoundBase) -> None:
    """Raises RecipeError BASE_MODEL_UNAVAILABLE unless the base is the one that was trained on."""
    trained, now = stored.trained_on, found.identity
    if trained is not None and not now.has_weights_of(trained):
        raise RecipeError(
            f"The LoRA was trained on {trained}, and the base is now {now}: on other weights it would be"
            " another model.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=(f"Import the base that it was trained on again, as {trained.id}.",),
        )


def _other(value: torch.Tensor, wanted: torch.Tensor) -> bool:
    return value.shape != wanted.shape


def _misfit(why: str) -> RecipeError:
    return RecipeError(
        f"The LoRA does not fit the base model: {why}.",
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=("Import the base model that it was trained on.",),
    )
