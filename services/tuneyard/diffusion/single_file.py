"""Checkpoints that hold a whole model in one .safetensors file, as ComfyUI and A1111 use them: what they are,
and their parts in the layout of diffusers.

Such a file says neither how large its parts are nor how text becomes tokens: configs and tokenizers come from
a folder beside it, or from where its kind of model was published.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
from safetensors import SafetensorError, safe_open

from tuneyard.diffusion.catalogue import KNOWN, KnownModel
from tuneyard.diffusion.safe_pipeline import Kind, PipelineIndex
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.safe_json import read_json, refused

_diffusers: Any = untyped_diffusers

_NETWORK = "model.diffusion_model."
_INPUT = f"{_NETWORK}input_blocks.0.0.weight"
_LATENT_CHANNELS = 4
_ALONE = "Import the model in the layout of diffusers: a folder with model_index.json."
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WHOLE = 1 << 40
"""More bytes than a part has: it is written as one file."""


def kind_of(checkpoint: Path) -> Kind:
    """What kind of model a checkpoint holds. Raises RecipeError: BASE_MODEL_UNAVAILABLE for a damaged file,
    NOT_SUPPORTED for anything but a whole Stable Diffusion 1.x or XL for text-to-image.
    """
    with _opened(checkpoint) as file:
        names = set(file.keys())
        channels = file.get_slice(_INPUT).get_shape()[1] if _INPUT in names else _LATENT_CHANNELS
    if channels != _LATENT_CHANNELS:
        raise refused(
            f"{checkpoint.name} is a model for inpainting or editing: its network takes {channels} channels.",
            "Choose a model for text-to-image.",
        )
    if any("lora_" in name for name in names):
        raise refused(f"{checkpoint.name} holds LoRA weights, and no model.", "Import their base model.")
    if _INPUT in names and _begins(names, "conditioner.embedders.1."):
        return "sdxl"
    if _INPUT in names and _begins(names, "cond_stage_model.transformer."):
        return "sd"
    raise refused(
        f"{checkpoint.name} is no checkpoint of Stable Diffusion 1.x or XL with its text encoders.", _ALONE
    )


def published(kind: Kind) -> KnownModel:
    """The model of the catalogue whose configs and tokenizers fit checkpoints of a kind."""
    return next(known for known in KNOWN if known.facts.kind == kind)


def write_parts(checkpoint: Path, configs: Path, index: PipelineIndex, result: Path) -> None:
    """Writes the parts with weights, in the number format of the checkpoint, each into its folder.

    Raises RecipeError BASE_MODEL_UNAVAILABLE where the checkpoint does not fit the configs.
    """
    class_: Any = getattr(_diffusers, index.class_name)
    try:
        pipeline = class_.from_single_file(
            str(checkpoint),
            config=str(configs),
            torch_dtype=_dtype(checkpoint),
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
        )
        for part in index.weighty:
            getattr(pipeline, part).save_pretrained(str(result / part), max_shard_size=_WHOLE)
    except RecipeError:
        raise
    except Exception as error:  # the library raises nearly anything on files that it does not like
        raise refused(
            f"{checkpoint.name} does not fit the configs of {index.class_name} ({type(error).__name__}): it"
            " is damaged, incomplete, or another kind of model.",
            _ALONE,
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error


def scheduler_config(checkpoint: Path, configs: Path) -> dict[str, Any]:
    """The scheduler's config, with what marks in the checkpoint say of its training."""
    config = read_json(configs / "scheduler" / "scheduler_config.json")
    with _opened(checkpoint) as file:
        names = set(file.keys())
    # Empty tensors by these names are how checkpoints for ComfyUI say so.
    if "v_pred" in names:
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        config["rescale_betas_zero_snr"] = True
    return config


def write_json(path: Path, value: Any) -> None:
    """A JSON file as the libraries write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _dtype(checkpoint: Path) -> torch.dtype:
    with _opened(checkpoint) as file:
        return _DTYPES.get(file.get_slice(_INPUT).get_dtype(), torch.float32)


def _begins(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _opened(checkpoint: Path) -> Any:
    try:
        return safe_open(checkpoint, framework="pt")
    except (SafetensorError, OSError) as error:
        raise refused(
            f"{checkpoint.name} is damaged.",
            "Download or copy the checkpoint again, and import it.",
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error
