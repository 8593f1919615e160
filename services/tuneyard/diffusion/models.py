"""Makes the text encoders and the denoiser of a pipeline, by its kind."""

import torch
from torch import nn

from tuneyard.diffusion.attention import hasten_few_keys
from tuneyard.diffusion.denoiser import Denoiser, TextEncoders
from tuneyard.diffusion.denoiser_sd import SdDenoiser, SdText
from tuneyard.diffusion.denoiser_sd3 import Sd3Denoiser, Sd3Text
from tuneyard.diffusion.denoiser_sdxl import SdxlDenoiser, SdxlText
from tuneyard.diffusion.noise import Diffusion, FlowMatching, NoiseProcess, Prediction
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.trainer.safe_json import refused


def load_text(pipeline: Pipeline, *, dtype: torch.dtype, device: torch.device) -> TextEncoders:
    """The text encoders, frozen. Raises RecipeError BASE_MODEL_UNAVAILABLE."""
    modules = pipeline.load_text_encoders(dtype=dtype, device=device)
    tokenizers = pipeline.load_tokenizers()
    match pipeline.kind:
        case "sd":
            return SdText(modules, tokenizers)
        case "sdxl":
            zeros = bool(pipeline.index.settings.get("force_zeros_for_empty_prompt", True))
            return SdxlText(modules, tokenizers, zeros_for_empty=zeros)
        case "sd3":
            width = int(pipeline.config("transformer")["joint_attention_dim"])
            return Sd3Text(modules, tokenizers, joint_width=width)


def load_denoiser(
    pipeline: Pipeline,
    *,
    dtype: torch.dtype,
    device: torch.device,
    prediction: Prediction | None = None,
    min_snr_gamma: float = 0.0,
) -> Denoiser:
    """The network, frozen, with its noise process. Raises RecipeError: BASE_MODEL_UNAVAILABLE, and as
    `noise_process`.
    """
    process = noise_process(pipeline, prediction=prediction, min_snr_gamma=min_snr_gamma)
    network = pipeline.load_network(dtype=dtype, device=device)
    if device.type == "cpu":
        hasten_few_keys(network)
    return make_denoiser(pipeline, network, process)


def make_denoiser(pipeline: Pipeline, network: nn.Module, process: NoiseProcess) -> Denoiser:
    """The denoiser around a network that is loaded already."""
    match pipeline.kind:
        case "sd":
            return SdDenoiser(network, process)
        case "sdxl":
            return SdxlDenoiser(network, process)
        case "sd3":
            return Sd3Denoiser(network, process)


def noise_process(
    pipeline: Pipeline, *, prediction: Prediction | None = None, min_snr_gamma: float = 0.0
) -> NoiseProcess:
    """The process that the pipeline's network belongs to; `prediction` None is the pipeline's own.

    Raises RecipeError: INVALID_FIELD for settings that the process does not know, NOT_SUPPORTED for a network
    that predicts something else.
    """
    scheduler = pipeline.config("scheduler")
    try:
        if pipeline.kind != "sd3":
            return Diffusion(scheduler, prediction=prediction, min_snr_gamma=min_snr_gamma)
        if prediction or min_snr_gamma:
            field = "prediction_type" if prediction else "min_snr_gamma"
            raise refused(
                f"spec.text_to_image_lora.{field}: the base is trained by flow matching, which has none.",
                f"Unset {field}.",
                reason="INVALID_FIELD",
            )
        return FlowMatching(scheduler)
    except ValueError as error:
        raise refused(
            f"The pipeline's scheduler is not supported: {error}.", "Choose another base."
        ) from error
