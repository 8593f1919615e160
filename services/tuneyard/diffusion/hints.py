"""What is unusual about a text-to-image LoRA's spec, but allowed: warnings of the estimate."""

from collections.abc import Iterator

from tuneyard.datasets.words import counted
from tuneyard.diffusion.config import MAX_PROMPTS
from tuneyard.diffusion.data_facts import DataFacts
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import batch_beyond_data, nothing_to_page, unusual_split
from tuneyard.v1 import training_pb2

_TASK = "text_to_image_lora"
_FEW_IMAGES = 10
_FAR_FROM_NATIVE = 2


def warnings(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    facts: PipelineFacts,
    data: DataFacts | None,
    *,
    on_cpu: bool,
) -> list[Violation]:
    """Everything that is unusual."""
    return [
        *_unusual_adapters(given.text_to_image_lora.lora),
        *_unusual_values(given),
        *_unusual_resolution(resolved, facts),
        *_without_effect(resolved, data, on_cpu=on_cpu),
        *(_unusual_for_data(given, resolved, data) if data else ()),
    ]


def _unusual_adapters(lora: training_pb2.LoraConfig) -> Iterator[Violation]:
    at = f"{_TASK}.lora"
    if lora.HasField("lora_r") and not 4 <= lora.lora_r <= 128:
        yield violation(f"{at}.lora_r", f"{lora.lora_r}; 4 to 128 are usual for images.")
    if lora.HasField("lora_dropout") and lora.lora_dropout > 0.1:
        yield violation(f"{at}.lora_dropout", f"{lora.lora_dropout:g}; 0 to 0.1 is usual.")


def _unusual_values(given: training_pb2.TrainingSpec) -> Iterator[Violation]:
    hyper, task = given.hyperparameters, given.text_to_image_lora
    if (
        hyper.HasField("learning_rate")
        and hyper.optimizer != training_pb2.OPTIMIZER_SGD
        and not 1e-5 <= hyper.learning_rate <= 1e-3
    ):
        yield violation("hyperparameters.learning_rate", f"{hyper.learning_rate:g}; 1e-05 to 0.001 is usual.")
    if task.noise_offset > 0.2:
        yield violation(f"{_TASK}.noise_offset", f"{task.noise_offset:g}; 0.03 to 0.1 is usual.")
    if task.caption_dropout > 0.3:
        yield violation(f"{_TASK}.caption_dropout", f"{task.caption_dropout:g}; 0.05 to 0.1 is usual.")
    if 0 < task.min_snr_gamma < 1 or task.min_snr_gamma > 20:
        yield violation(f"{_TASK}.min_snr_gamma", f"{task.min_snr_gamma:g}; 5 is usual.")
    if len(task.validation_prompts) > MAX_PROMPTS:
        yield violation(
            f"{_TASK}.validation_prompts",
            f"{len(task.validation_prompts)}; only the first {MAX_PROMPTS} are drawn.",
        )
    if task.class_prompt and task.HasField("prior_loss_weight") and not task.prior_loss_weight:
        yield violation(f"{_TASK}.class_prompt", "Without a prior_loss_weight no class image is trained on.")


def _unusual_resolution(resolved: training_pb2.TrainingSpec, facts: PipelineFacts) -> Iterator[Violation]:
    side, native = resolved.text_to_image_lora.resolution, facts.resolution
    if native and not native / _FAR_FROM_NATIVE <= side <= native * _FAR_FROM_NATIVE:
        yield violation(
            f"{_TASK}.resolution", f"{side} px, and the base draws {native} px: far from it, it draws badly."
        )


def _without_effect(
    resolved: training_pb2.TrainingSpec, data: DataFacts | None, *, on_cpu: bool
) -> Iterator[Violation]:
    task = resolved.text_to_image_lora
    yield from nothing_to_page(resolved, on_cpu=on_cpu)
    if task.random_crop and task.cache_latents:
        yield violation(
            f"{_TASK}.cache_latents",
            "Random crops differ each time: latents are computed at each step, which takes longer.",
        )
    if data and data.class_images and not task.prior_loss_weight:
        yield violation(
            f"{_TASK}.prior_loss_weight",
            "The dataset's class images are not used; with a class_prompt they keep the class.",
        )


def _unusual_for_data(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, data: DataFacts
) -> Iterator[Violation]:
    yield from unusual_split(given, brings_validation=data.brings_validation)
    if data.train_samples < _FEW_IMAGES:
        yield violation(
            "dataset",
            f"{counted(data.train_samples, 'training image')}; 10 to 30 are usual for a subject, more for"
            " a style.",
        )
    yield from batch_beyond_data(resolved, data.train_samples, samples="images")
