"""What a recipe may raise and what the run raises into it. No protobuf here: the worker translates.

Stopped         the run was asked to pause or to cancel; not an error of the recipe
RecipeError     a failure with a reason to branch on, a message for people and remedies
"""

from enum import Enum
from typing import Literal, TypeAlias

Reason: TypeAlias = Literal[
    "BASE_MODEL_UNAVAILABLE",
    "CHECKPOINT_CORRUPT",
    "DATASET_INVALID",
    "DATASET_UNREADABLE",
    "DIVERGED",
    "DOES_NOT_FIT",
    "INVALID_FIELD",
    "MODEL_NOT_FOUND",
    "NOT_SUPPORTED",
    "OUT_OF_MEMORY",
    "RECIPE_FAILED",
    "STORAGE_FULL",
    "STORE_UNAVAILABLE",
    "UNKNOWN_BASE_MODEL",
]
"""The reasons that a run can fail for: names of `ErrorReason` without their prefix."""

OUT_OF_MEMORY_REMEDIES = (
    "Reduce batch_size; raise gradient_accumulation_steps by the same factor to keep the effective batch.",
    "Use mixed precision (precision: auto or bf16).",
    "Reduce image_size, resolution or max_length.",
    "Turn gradient_checkpointing on.",
    "Use LoRA or QLoRA, or a smaller base model.",
)
"""What the guide recommends when memory runs out, in the order in which to try it."""


class Stop(Enum):
    """How a run was asked to stop."""

    PAUSE = "pause"
    """Save a checkpoint after the current step, then leave."""
    CANCEL = "cancel"
    """Leave after the current step and save nothing."""


class Stopped(Exception):
    """Raised by a recipe, or by `Run.check_stop`, to leave after a stop was requested.

    `step` counts the optimizer steps done; with PAUSE the checkpoint of that step is recorded already, or
    there was nothing to save.
    """

    def __init__(self, mode: Stop, step: int = 0) -> None:
        super().__init__(f"{mode.value} after step {step}")
        self.mode = mode
        self.step = step


class RecipeError(Exception):
    """A run's failure as the user reads it: the message never holds a path or a traceback.

    It is not retried by the platform; `retryable` tells the user whether the same job may succeed unchanged.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason = "RECIPE_FAILED",
        remedies: tuple[str, ...] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason: Reason = reason
        self.remedies = remedies
        self.retryable = retryable


def no_source_artifacts() -> RecipeError:
    """The error of a run that works on a finished job whose model is not there."""
    return RecipeError(
        "The source job left no artifacts.",
        reason="MODEL_NOT_FOUND",
        remedies=("Name a training job that has succeeded and whose artifacts were not deleted.",),
    )


def base_gone(base_model: str) -> RecipeError:
    """The error of a job whose base model ("models/…") is not in the store any more."""
    return RecipeError(
        f"The base model {base_model} is no longer in the store.",
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=(f"Import it again under the same name: {base_model.removeprefix('models/')}.",),
    )
