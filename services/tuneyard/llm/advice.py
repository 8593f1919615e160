"""What a fine-tuning's advice says: its settings as remedies, in the order of the guide."""

from tuneyard.datasets import Report
from tuneyard.datasets.words import counted
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.recipes.watch import Subject
from tuneyard.trainer.errors import RecipeError

TRAINING_SAMPLE = "training-sample.html"
"""The artifact that shows which tokens are trained on."""

_SGD_FACTOR = 100
"""With momentum, plain gradients want steps about so many times as large as Adam's scaled ones."""


def usual_learning_rate(config: LanguageModelConfig) -> float:
    """The middle of the rates that are usual for the method and the optimizer, whatever the model's size."""
    rate = 2e-5 if config.method == "full" else 2e-4
    return rate * _SGD_FACTOR if config.optimizer == "sgd" else rate


def fine_tuning_subject(config: LanguageModelConfig, report: Report) -> Subject:
    """The subject of a fine-tuning's advice."""
    return Subject(
        learning_rate=config.learning_rate,
        usual_learning_rate=usual_learning_rate(config),
        report=report,
        shown_in=f"{TRAINING_SAMPLE} shows samples as it reads them, and which tokens it learns",
        overfitting_remedies=_overfitting_remedies(config, report),
        overfitting_changes=_overfitting_changes(config),
        starved_remedies=("Give the run more threads (resources.cpu_threads).",),
        diverging_remedies=(
            "Lower the learning rate.",
            "Warm up longer.",
            *(() if config.max_grad_norm else ("Clip gradients: set max_grad_norm to 1.",)),
            *(("Use precision bf16 or fp32.",) if config.precision == "fp16" else ()),
        ),
    )


def _overfitting_remedies(config: LanguageModelConfig, report: Report) -> tuple[str, ...]:
    if config.lora:
        dropout = f"Raise lora_dropout: it is {config.lora.dropout:g}."
        smaller = f"Reduce the model: an lora_r below {config.lora.r}, or fewer target_modules."
    else:
        dropout = "Use LoRA, which has dropout (lora_dropout)."
        smaller = "Reduce the model: LoRA trains about a hundredth of the weights."
    stopping = f"Early stopping is on, with a patience of {config.patience}: use a shorter one."
    return (
        f"Add more training data to the {counted(report.samples, 'sample')} of the dataset.",
        "Vary the data: say the same instructions in other words, or set neftune_alpha to 5.",
        dropout,
        smaller,
        stopping if config.patience else "Use early stopping, or train for fewer epochs.",
    )


def _overfitting_changes(config: LanguageModelConfig) -> dict[str, object]:
    changes: dict[str, object] = {}
    if config.lora and config.lora.dropout < 0.1:
        changes["language_model.lora.lora_dropout"] = 0.1
    if not config.neftune_alpha:
        changes["language_model.neftune_alpha"] = 5.0
    if not config.patience:
        changes["early_stopping.patience"] = 3
    return changes


def out_of_memory(config: LanguageModelConfig) -> RecipeError:
    """The error of a fine-tuning of which a single row does not fit."""
    return RecipeError(
        f"Even a single row of {config.max_length} tokens does not fit into memory.",
        reason="OUT_OF_MEMORY",
        remedies=_smaller_steps(config),
    )


def memory_remedies(config: LanguageModelConfig) -> tuple[str, ...]:
    """What to change where memory ran out outside of a step, which would have become smaller by itself."""
    smaller = (
        "Reduce batch_size; raise gradient_accumulation_steps by the same factor to keep the effective batch."
    )
    return (*((smaller,) if config.batch_size > 1 else ()), *_smaller_steps(config))


def too_large(config: LanguageModelConfig) -> RecipeError:
    """The error of a fine-tuning whose weights and optimizer's state alone do not fit."""
    return RecipeError(
        "The base model does not fit into memory together with what training it needs.",
        reason="OUT_OF_MEMORY",
        remedies=(*_smaller_methods(config), "Use a smaller base model."),
    )


def _smaller_steps(config: LanguageModelConfig) -> tuple[str, ...]:
    """The guide's list, in its order, without what is done already."""
    return (
        *(() if config.gradient_checkpointing else ("Turn gradient_checkpointing on.",)),
        *_smaller_methods(config),
        f"Reduce max_length: it is {config.max_length} tokens.",
        "Use a smaller base model.",
    )


def _smaller_methods(config: LanguageModelConfig) -> tuple[str, ...]:
    if config.method == "full":
        return ("Use LoRA or QLoRA instead of full fine-tuning.",)
    return ("Use QLoRA instead of LoRA.",) if config.method == "lora" else ()
