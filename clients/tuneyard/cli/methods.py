"""What each method of fine-tuning a language model would need, side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import RenderableType

from tuneyard.cli.estimates import memory_words
from tuneyard.cli.formats import size, table
from tuneyard.v1.job_pb2 import Estimate
from tuneyard.v1.training_pb2 import (
    FINE_TUNING_METHOD_FULL,
    FINE_TUNING_METHOD_LORA,
    FINE_TUNING_METHOD_QLORA,
    FineTuningMethod,
    TrainingSpec,
)

_WORDS = {
    FINE_TUNING_METHOD_FULL: "full",
    FINE_TUNING_METHOD_LORA: "LoRA",
    FINE_TUNING_METHOD_QLORA: "QLoRA",
}


def of_each_method(
    spec: TrainingSpec, answered: Estimate, ask: Callable[[TrainingSpec], Estimate]
) -> list[Estimate]:
    """The answers for the spec by full fine-tuning, LoRA and QLoRA, whichever of them it asks for.

    What the user left open is recommended for each method anew. Empty where nothing can be predicted.
    """
    if not answered.HasField("memory"):
        return []
    chosen = answered.resolved_spec.training.language_model.method
    found = [answered if method == chosen else ask(_by(spec, method)) for method in _WORDS]
    return [each for each in found if each.HasField("memory")]


def methods_table(estimates: Iterable[Estimate], *, chosen: Estimate) -> RenderableType:
    """Methods below one another, with what each would compute at once."""
    columns = ("method", "memory", "at once", "result", "fits")
    return table(columns, [tuple(_row(each, is_chosen=each is chosen)) for each in estimates])


def _row(estimate: Estimate, *, is_chosen: bool) -> Iterator[str]:
    spec = estimate.resolved_spec.training
    name = _WORDS.get(spec.language_model.method, "")
    yield f"[bold]{name}[/]" if is_chosen else name
    yield memory_words(estimate.memory)
    yield ", ".join(_at_once(spec))
    yield size(estimate.artifact_bytes)
    yield "yes" if estimate.fits else "[red]no[/]"


def _at_once(spec: TrainingSpec) -> Sequence[str]:
    rows = f"{spec.hyperparameters.batch_size} × {spec.language_model.max_length} tokens"
    return [rows, "checkpointing"] if spec.language_model.gradient_checkpointing else [rows]


def _by(spec: TrainingSpec, method: "FineTuningMethod.ValueType") -> TrainingSpec:
    """The spec as given, by another method, without settings that this does not have."""
    other = TrainingSpec()
    other.CopyFrom(spec)
    other.language_model.method = method
    if method != FINE_TUNING_METHOD_QLORA:
        other.language_model.ClearField("quantization")
    if method == FINE_TUNING_METHOD_FULL:
        other.language_model.ClearField("lora")
    return other
