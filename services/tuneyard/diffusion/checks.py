"""What is wrong with a text-to-image LoRA's spec. Imports no torch, changes nothing; the unusual: `hints`.

The ranges of single fields and what contradicts itself without a model are checked at the gateway; here is
what needs the model, the data, the devices or the installed libraries.
"""

import difflib
import importlib.util
from collections.abc import Iterator, Sequence

from tuneyard.diffusion.catalogue import KNOWN
from tuneyard.diffusion.clip_files import ClipFacts
from tuneyard.diffusion.data_facts import DataFacts
from tuneyard.diffusion.memory import ALL_LINEAR, OUTSIDE_OF_BLOCKS, is_chosen
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.recommended import METRICS
from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import (
    impossible_on_devices,
    is_hub_id,
    moving_revision,
    unknown_metric,
    wrong_dataset_format,
)
from tuneyard.v1 import dataset_pb2, errors_pb2, system_pb2, training_pb2

_EIGHT_BIT_OPTIMIZERS = (training_pb2.OPTIMIZER_ADAMW_8BIT, training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT)
_TASK = "text_to_image_lora"
_TARGETS = f"{_TASK}.lora.target_modules"
CLIP_FIELD = f"{_TASK}.clip_model"


def unknown_model(base_model: str) -> tuple["errors_pb2.ErrorReason.ValueType", Violation]:
    """What to answer where nothing is known of the base model: the reason, and what to do."""
    if base_model.startswith("models/"):
        return errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, violation(
            "base_model",
            f"{base_model!r} is no text-to-image model that can be trained. Import one in diffusers' layout"
            " (model_index.json and its folders) or as one .safetensors file: `tuneyard models import PATH"
            " --name NAME`.",
        )
    if is_hub_id(base_model):
        return errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE, violation(
            "base_model",
            f"{base_model!r} is a hub model, and the store has none from there. Import it with"
            f" `tuneyard models import {base_model} --revision COMMIT`, or, without a network, import a"
            " folder with its files.",
        )
    ids = [known.id for known in KNOWN]
    close = difflib.get_close_matches(base_model.lower().replace("_", "-"), ids, n=3, cutoff=0.5)
    meant = f" Did you mean {', '.join(close)}?" if close else ""
    return errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, violation(
        "base_model",
        f"There is no text-to-image model {base_model!r}.{meant} `tuneyard models list` lists known ones, and"
        " those of the store, which are named models/NAME; import any other with"
        f" `tuneyard models import PATH_OR_HUB_ID --name {base_model or 'NAME'}`.",
    )


def wrong_format(format: "dataset_pb2.DatasetFormat.ValueType") -> Violation | None:
    """A violation if the dataset's layout is another family's."""
    wanted = dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES
    return wrong_dataset_format(format, wanted=wanted, trained="A text-to-image LoRA")


def wrong_clip_model(name: str, found: ClipFacts | None, *, at: str) -> Iterator[Violation]:
    """A violation if the model that is to score pictures is no CLIP."""
    if name and found is None:
        yield violation(
            at,
            f"{name} is no CLIP model: import one (a folder of transformers' CLIPModel with its tokenizer"
            " and preprocessor_config.json), `tuneyard models import PATH_OR_HUB_ID --family diffusion`.",
        )


def violations(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    facts: PipelineFacts,
    data: DataFacts | None,
    devices: Sequence[system_pb2.Device],
) -> list[Violation]:
    """Everything for which the job would be refused, its memory aside."""
    return [
        *_contradictions(given, resolved),
        *unknown_metric(resolved, METRICS),
        *moving_revision(resolved),
        *_impossible_for_model(resolved, facts),
        *_missing_libraries(resolved),
        *impossible_on_devices(resolved, devices, trained="a text-to-image LoRA"),
        *(_impossible_with_data(resolved, data) if data else ()),
    ]


def _contradictions(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec
) -> Iterator[Violation]:
    task = given.text_to_image_lora
    if (
        given.hyperparameters.HasField("momentum")
        and resolved.hyperparameters.optimizer != training_pb2.OPTIMIZER_SGD
    ):
        yield violation("hyperparameters.momentum", "Only OPTIMIZER_SGD has a momentum.")
    if task.HasField("text_encoder_learning_rate") and not task.train_text_encoder:
        yield violation(
            f"{_TASK}.text_encoder_learning_rate",
            "The text encoders are not trained: set train_text_encoder, or leave this unset.",
        )


def _impossible_for_model(resolved: training_pb2.TrainingSpec, facts: PipelineFacts) -> Iterator[Violation]:
    task = resolved.text_to_image_lora
    if task.resolution % facts.latent_scale:
        near = max(1, round(task.resolution / facts.latent_scale)) * facts.latent_scale
        yield violation(
            f"{_TASK}.resolution",
            f"The model's latents are {facts.latent_scale} times smaller than its images: use a multiple of"
            f" {facts.latent_scale}, such as {near}.",
        )
    if facts.kind == "sd3":
        for name, wrong in (
            ("min_snr_gamma", task.min_snr_gamma > 0),
            ("prediction_type", bool(task.prediction_type)),
        ):
            if wrong:
                yield violation(
                    f"{_TASK}.{name}", "The model matches flows, which have none: leave it unset."
                )
    names = sorted({each.name for each in facts.linears} - OUTSIDE_OF_BLOCKS)
    wanted = list(task.lora.target_modules)
    if ALL_LINEAR in wanted:
        return
    if unknown := [name for name in wanted if not any(is_chosen(each, (name,)) for each in names)]:
        yield violation(
            _TARGETS,
            f"The model has no linear layer named {', '.join(unknown)}. It has {', '.join(names)};"
            f" {ALL_LINEAR} means all of them.",
        )


def _missing_libraries(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    if importlib.util.find_spec("bitsandbytes") is not None:
        return
    if resolved.hyperparameters.optimizer in _EIGHT_BIT_OPTIMIZERS:
        yield violation(
            "hyperparameters.optimizer",
            "An optimizer with 8-bit state needs bitsandbytes on the trainer's machine: `pip install"
            " bitsandbytes`.",
        )


def _impossible_with_data(resolved: training_pb2.TrainingSpec, data: DataFacts) -> Iterator[Violation]:
    splits_itself = not data.brings_validation and not resolved.data_split.validation_dataset
    if splits_itself and not data.validation_samples:
        yield violation(
            "dataset",
            "The dataset has too few images to hold one out for validation: add images, or a val split.",
        )
    elif data.train_samples < 1:
        yield violation("dataset", "The dataset has no training image.")
    if resolved.text_to_image_lora.prior_loss_weight > 0 and not data.class_images:
        yield violation(
            f"{_TASK}.prior_loss_weight",
            "Prior preservation needs class images, and the dataset has none: put images of the class into a"
            " folder class/ of the dataset, or set it to 0.",
        )
