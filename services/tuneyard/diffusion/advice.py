"""What the advice on a text-to-image training says: its settings as remedies, in the order of the guide."""

from tuneyard.datasets import Report
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.recipes.watch import Subject
from tuneyard.trainer.errors import RecipeError

USUAL_LEARNING_RATE = 1e-4
_SGD_FACTOR = 100
"""With momentum, plain gradients want steps about so many times as large as Adam's scaled ones."""
_SMALLER_PX = 256
"""Below such a resolution the published models draw nothing that is worth learning from."""


def usual_learning_rate(config: TextToImageConfig) -> float:
    """The rate that is usual for the optimizer, whatever the pipeline."""
    return USUAL_LEARNING_RATE * (_SGD_FACTOR if config.optimizer == "sgd" else 1)


def training_subject(config: TextToImageConfig, report: Report) -> Subject:
    """The subject of a training's advice."""
    return Subject(
        learning_rate=config.learning_rate,
        usual_learning_rate=usual_learning_rate(config),
        report=report,
        shown_in="samples/ shows what it draws, and caption-report.json how captions are read",
        overfitting_remedies=_overfitting_remedies(config, report),
        overfitting_changes=_overfitting_changes(config),
        starved_remedies=(
            *(() if config.cache_latents else ("Set cache_latents: images are then read once.",)),
            "Give the run more threads (resources.cpu_threads).",
        ),
        starved_changes={} if config.cache_latents else {"text_to_image_lora.cache_latents": True},
        diverging_remedies=(
            "Lower the learning rate.",
            "Warm up longer.",
            *(() if config.max_grad_norm else ("Clip gradients: set max_grad_norm to 1.",)),
            *(() if config.min_snr_gamma else ("Set min_snr_gamma to 5.",)),
            *(("Use precision bf16 or fp32.",) if config.precision == "fp16" else ()),
        ),
    )


def _overfitting_remedies(config: TextToImageConfig, report: Report) -> tuple[str, ...]:
    stopping = f"Early stopping is on, with a patience of {config.patience}: use a shorter one."
    return (
        f"Add more training images: there are {report.samples}.",
        *(() if config.horizontal_flip else ("Vary the images: set horizontal_flip to 0.5.",)),
        "Vary the captions, so that they tell apart what is to be learned from what is not.",
        f"Raise lora_dropout: it is {config.lora.dropout:g}.",
        f"Reduce the adapter: an lora_r below {config.lora.r}.",
        *(() if config.prior_loss_weight else ("Add class images, with a prior_loss_weight of 1.",)),
        stopping if config.patience else "Use early stopping, or train for fewer epochs.",
    )


def _overfitting_changes(config: TextToImageConfig) -> dict[str, object]:
    changes: dict[str, object] = {}
    if config.lora.dropout < 0.1:
        changes["text_to_image_lora.lora.lora_dropout"] = 0.1
    if not config.patience:
        changes["early_stopping.patience"] = 3
    return changes


def out_of_memory_remedies(config: TextToImageConfig) -> tuple[str, ...]:
    """The guide's list, in its order, without what is done already."""
    smaller = max(_SMALLER_PX, config.resolution // 4 * 3 // 64 * 64)
    return (
        *(("Use mixed precision (precision: auto or bf16).",) if config.precision == "fp32" else ()),
        *(
            (f"Reduce resolution: it is {config.resolution} px; try {smaller}.",)
            if smaller < config.resolution
            else ()
        ),
        *(() if config.gradient_checkpointing else ("Turn gradient_checkpointing on.",)),
        *(() if config.cache_latents else ("Set cache_latents: the VAE and the text encoders then leave.",)),
        *(("Leave the text encoders as they are: unset train_text_encoder.",) * config.train_text_encoder),
        *_less_state(config),
        "Use a smaller base model, such as stable-diffusion-v1-5.",
    )


def out_of_memory(config: TextToImageConfig) -> RecipeError:
    """The error of a training of which a single image does not fit."""
    return RecipeError(
        f"Even a single image of {config.resolution} px does not fit into memory.",
        reason="OUT_OF_MEMORY",
        remedies=out_of_memory_remedies(config),
    )


def too_large(config: TextToImageConfig) -> RecipeError:
    """The error of a training whose weights and optimizer's state alone do not fit."""
    return RecipeError(
        "The base model does not fit into memory together with what training it needs.",
        reason="OUT_OF_MEMORY",
        remedies=(*_less_state(config), "Use a smaller base model, such as stable-diffusion-v1-5."),
    )


def _less_state(config: TextToImageConfig) -> tuple[str, ...]:
    """What makes the optimizer's state smaller."""
    rank = (f"Reduce lora_r: it is {config.lora.r}.",) if config.lora.r > 16 else ()
    return rank if "8bit" in config.optimizer else (*rank, "Use the optimizer adamw_8bit.")
