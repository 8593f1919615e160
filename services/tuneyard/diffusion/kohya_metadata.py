"""What the header of a LoRA in kohya's format tells, by the names of kohya's scripts (ss_…) and of ModelSpec.

Values are those that sd-scripts' train_network.py and sai_model_spec.py write, as texts; what they have no
name for stands under tuneyard_…. Where they write "None" for what was not given, the name is left out.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tuneyard.diffusion.base_source import FoundBase
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.lora_files import Parts
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.samples import Sample, Splits

_SD2_WIDTH = 1024
"""Stable Diffusion 2's text encoder is that wide; 1's has 768."""
_SDXL_IMPLEMENTATION = "https://github.com/Stability-AI/generative-models"
"""Whose names the layers of SDXL have in this format."""
_MIXED_PRECISION = {"bf16": "bf16", "fp16": "fp16", "fp32": "no"}


@dataclass(frozen=True)
class BaseVersion:
    """What a base model is called by those who have to tell it from others."""

    version: str
    """By kohya's scripts."""
    architecture: str
    """By ModelSpec."""
    implementation: str = "diffusers"
    prediction: str = ""
    """"epsilon", "v", or "" of a model that is trained by flow matching, for which ModelSpec has no name."""

    @property
    def is_v2(self) -> bool:
        """Whether it is a Stable Diffusion 2."""
        return self.version.startswith("sd_v2")


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What a header tells of a finished training."""

    config: TextToImageConfig
    base: FoundBase
    pipeline: Pipeline
    splits: Splits
    dataset_sha256: str
    precision: str
    steps: int
    """Of the training."""
    stored_step: int
    """Whose weights are stored."""
    name: str
    """Of the file, without its ending."""


def base_version(pipeline: Pipeline, config: TextToImageConfig) -> BaseVersion:
    """Of the pipeline, whose network predicts what the settings say."""
    predicts_v = _predicts_v(pipeline, config)
    prediction = "v" if predicts_v else "epsilon"
    match pipeline.kind:
        case "sdxl":
            return BaseVersion(
                "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", _SDXL_IMPLEMENTATION, prediction
            )
        case "sd3":
            return _sd3(pipeline)
        case "sd":
            is_v2 = pipeline.config("unet").get("cross_attention_dim") == _SD2_WIDTH
            version = f"sd_v{2 if is_v2 else 1}{'_v' if predicts_v else ''}"
            if not is_v2:
                return BaseVersion(version, "stable-diffusion-v1/lora", prediction=prediction)
            trained_at = "768-v" if predicts_v else "512"
            return BaseVersion(version, f"stable-diffusion-v2-{trained_at}/lora", prediction=prediction)


def kohya_metadata(facts: TrainingFacts, parts: Parts) -> dict[str, str]:
    """The header's entries beside those that follow from the weights (`lora_files.save_kohya`)."""
    config, base, splits = facts.config, facts.base.identity, facts.splits
    version = base_version(facts.pipeline, config)
    words = ", ".join(config.trigger_words)
    rate = f"{config.learning_rate:g}"
    optional = {
        "ss_text_encoder_lr": f"{config.text_encoder_learning_rate or config.learning_rate:g}"
        if any(name.startswith("text_encoder") for name in parts)
        else "",
        "ss_num_epochs": str(config.epochs or ""),
        "ss_noise_offset": f"{config.noise_offset:g}" if config.noise_offset else "",
        "ss_min_snr_gamma": f"{config.min_snr_gamma:g}" if config.min_snr_gamma else "",
        "ss_network_dropout": f"{config.lora.dropout:g}" if config.lora.dropout else "",
        "ss_prior_loss_weight": f"{config.prior_loss_weight:g}" if splits.class_images else "",
        "modelspec.prediction_type": version.prediction,
        "modelspec.trigger_phrase": words,
        "tuneyard_trigger_words": words,
    }
    return {
        "ss_output_name": facts.name,
        "ss_base_model_version": version.version,
        "ss_v2": str(version.is_v2),
        "ss_sd_model_name": base.id,
        "ss_new_sd_model_hash": base.sha256,
        "ss_network_args": json.dumps({"use_dora": True} if config.lora.use_dora else {}),
        "ss_learning_rate": rate,
        "ss_unet_lr": rate,
        "ss_lr_scheduler": config.schedule,
        "ss_optimizer": config.optimizer,
        "ss_max_grad_norm": f"{config.max_grad_norm:g}",
        "ss_num_train_images": str(_seen(splits.train)),
        "ss_num_reg_images": str(_seen(splits.class_images)),
        "ss_num_validation_images": str(len(splits.validation)),
        "ss_steps": str(facts.stored_step),
        "ss_max_train_steps": str(facts.steps),
        "ss_total_batch_size": str(config.effective_batch_size),
        "ss_gradient_accumulation_steps": str(config.gradient_accumulation_steps),
        "ss_gradient_checkpointing": str(config.gradient_checkpointing),
        "ss_mixed_precision": _MIXED_PRECISION[facts.precision],
        "ss_cache_latents": str(config.cache_latents and not config.random_crop),
        "ss_resolution": f"({config.resolution}, {config.resolution})",
        "ss_enable_bucket": "True",
        "ss_seed": str(config.seed),
        "ss_caption_dropout_rate": f"{config.caption_dropout:g}",
        "ss_dataset_dirs": json.dumps(_folders(splits.train), ensure_ascii=False),
        "ss_reg_dataset_dirs": json.dumps(_folders(splits.class_images), ensure_ascii=False),
        "ss_tag_frequency": json.dumps(_tags(splits.train), ensure_ascii=False),
        "tuneyard_dataset_sha256": facts.dataset_sha256,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": version.architecture,
        "modelspec.implementation": version.implementation,
        "modelspec.title": facts.name,
        "modelspec.resolution": f"{config.resolution}x{config.resolution}",
        **{name: value for name, value in optional.items() if value},
    }


def _predicts_v(pipeline: Pipeline, config: TextToImageConfig) -> bool:
    told = config.prediction_type
    if told == "auto":
        told = pipeline.config("scheduler").get("prediction_type", "epsilon")
    return told == "v_prediction"


def _sd3(pipeline: Pipeline) -> BaseVersion:
    """3.5 normalises queries and keys, and its medium model has blocks with a second attention."""
    config = pipeline.config("transformer")
    if not config.get("qk_norm"):
        return BaseVersion("3-medium", "stable-diffusion-v3-medium/lora")
    size = "medium" if config.get("dual_attention_layers") else "large"
    return BaseVersion(f"3-5-{size}", f"stable-diffusion-v3.5-{size}/lora")


def _seen(samples: Iterable[Sample]) -> int:
    """Images, each as often as it is repeated."""
    return sum(sample.repeats for sample in samples)


def _folders(samples: Iterable[Sample]) -> dict[str, dict[str, int]]:
    """By the last folder's name, its images and how often each is seen."""
    found: dict[str, dict[str, int]] = {}
    for sample in samples:
        of_folder = found.setdefault(_folder(sample), {"n_repeats": sample.repeats, "img_count": 0})
        of_folder["img_count"] += 1
    return found


def _tags(samples: Iterable[Sample]) -> Mapping[str, Mapping[str, int]]:
    """By folder, how many captions have each of the phrases that commas part."""
    found: dict[str, Counter[str]] = {}
    for sample in samples:
        phrases = (phrase.strip().lower() for phrase in sample.caption.split(","))
        found.setdefault(_folder(sample), Counter()).update(phrase for phrase in phrases if phrase)
    return found


def _folder(sample: Sample) -> str:
    return sample.name.rpartition("/")[0].rpartition("/")[2] or "images"
