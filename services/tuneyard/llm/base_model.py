"""Loading base models: from a local folder in the layout of transformers, safetensors only, no foreign code.

Where the folder comes from (the store, the hub) is not decided here.
"""

import ctypes
import gc
from pathlib import Path
from typing import Any, cast

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.precision import Precision, base_dtype
from tuneyard.llm.quantization import keep_weights_as_trained, loading_settings
from tuneyard.llm.quiet import quiet_transformers
from tuneyard.llm.safe_config import check_folder
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.safe_json import refused

__all__ = ["attention_of", "load_base", "load_model", "load_tokenizer"]


def attention_of(folder: Path) -> str:
    """The implementation of attention that a folder's architecture is computed with: the fused one where
    transformers has it, else that of plain matrices (Gemma 2, Bloom, GPT-J and older ones).
    """
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    architecture: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return "sdpa" if getattr(architecture, "_supports_sdpa", True) else "eager"


def load_base(
    folder: Path, config: LanguageModelConfig, *, device: torch.device, precision: Precision
) -> PreTrainedModel:
    """The model that training begins with: its weights in the number format that the method wants, frozen
    unless all are trained, in training mode.

    Raises RecipeError: as `load_model`.
    """
    model = load_model(
        folder,
        device=device,
        dtype=base_dtype(precision, config.method),
        quantization=loading_settings(config.quantization, device) if config.quantization else None,
    )
    for parameter in model.parameters():
        if config.method != "full" or not parameter.is_floating_point():
            parameter.requires_grad_(False)
    if config.gradient_checkpointing:
        _checkpoint_layers(model)
    model.train()
    return model


def load_model(
    folder: Path, *, device: torch.device, dtype: torch.dtype, quantization: Any = None
) -> PreTrainedModel:
    """A causal language model in evaluation mode; `quantization` are transformers' settings for it.

    Each weight is read, cast and quantised by itself: never is the whole model in memory twice. Raises
    RecipeError: as `safe_config.check_folder`, and BASE_MODEL_UNAVAILABLE where weights are missing or no
    safetensors.
    """
    check_folder(folder)
    with quiet_transformers():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                device_map={"": device},
                quantization_config=quantization,
                attn_implementation=attention_of(folder),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises nearly anything on files that it does not like
            if is_out_of_memory(error) or isinstance(error, MemoryError):
                raise
            raise _unloadable(error) from error
    model, info = loaded
    _refuse_incomplete(info)
    model.config.use_cache = False
    keep_weights_as_trained(model)
    if quantization is not None:
        _give_back_scratch()
    return cast(PreTrainedModel, model)


def _checkpoint_layers(model: Any) -> None:
    """Drops the activations within each layer, to be computed again in the backward pass."""
    settings = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)


def _give_back_scratch() -> None:
    """Quantising takes a few times a weight's size for a moment; glibc would keep the pieces for itself."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _refuse_incomplete(info: dict[str, Any]) -> None:
    """transformers fills what is missing with random numbers, and says so only in its log."""
    missing = sorted(map(str, info["missing_keys"])) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise refused(
            f"The base model's weights do not fit its config.json: {len(missing)} tensors are missing or of"
            f" another shape, the first {missing[0]}.",
            "Import the whole folder again, as it was published.",
            reason="BASE_MODEL_UNAVAILABLE",
        )


def _unloadable(error: Exception) -> RecipeError:
    return refused(
        f"The base model cannot be loaded from its files ({type(error).__name__}): they must be safetensors"
        " of an architecture that this release of transformers knows.",
        "Import the model again, with its *.safetensors files and config.json.",
        reason="BASE_MODEL_UNAVAILABLE",
    )
