"""What is unusual about a fine-tuning's spec, but allowed: warnings of the estimate. Imports no torch."""

from collections.abc import Iterator

from tuneyard.llm.data_facts import DataFacts
from tuneyard.llm.memory import Workload
from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import batch_beyond_data, nothing_to_page, unusual_split
from tuneyard.v1 import training_pb2

_LARGE_ADAPTER_BYTES = 100e6
"""The guide calls adapters small below this."""


def warnings(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    data: DataFacts | None,
    work: Workload,
    *,
    on_cpu: bool,
) -> list[Violation]:
    """Everything that is unusual."""
    return [
        *_unusual_adapters(given.language_model.lora),
        *_unusual_rates(given, full=work.adapters is None),
        *_large_adapter(work),
        *_without_effect(resolved, on_cpu=on_cpu),
        *_packing_that_mixes(given, work),
        *(_unusual_for_data(given, resolved, data) if data else ()),
    ]


def _unusual_adapters(lora: training_pb2.LoraConfig) -> Iterator[Violation]:
    at = "language_model.lora"
    if lora.HasField("lora_r") and not 8 <= lora.lora_r <= 64:
        yield violation(f"{at}.lora_r", f"{lora.lora_r}; 8 to 64 are usual.")
    if lora.HasField("lora_alpha") and not 16 <= lora.lora_alpha <= 128:
        yield violation(f"{at}.lora_alpha", f"{lora.lora_alpha:g}; 16 to 128 are usual, and twice the rank.")
    if lora.HasField("lora_dropout") and not 0.05 <= lora.lora_dropout <= 0.1:
        yield violation(f"{at}.lora_dropout", f"{lora.lora_dropout:g}; 0.05 to 0.1 is usual.")


def _unusual_rates(given: training_pb2.TrainingSpec, *, full: bool) -> Iterator[Violation]:
    hyper, low, high = given.hyperparameters, *((1e-6, 1e-4) if full else (1e-5, 1e-3))
    if (
        hyper.HasField("learning_rate")
        and hyper.optimizer != training_pb2.OPTIMIZER_SGD
        and not low <= hyper.learning_rate <= high
    ):
        kind = "for all weights" if full else "for adapters"
        yield violation(
            "hyperparameters.learning_rate",
            f"{hyper.learning_rate:g}; {low:g} to {high:g} is usual {kind}.",
        )
    if hyper.HasField("epochs") and hyper.epochs > 10:
        yield violation(
            "hyperparameters.epochs", f"{hyper.epochs}; about 3 are usual, and more learn samples by heart."
        )


def _large_adapter(work: Workload) -> Iterator[Violation]:
    if work.adapters and work.adapters.file_bytes > _LARGE_ADAPTER_BYTES:
        yield violation(
            "language_model.lora.lora_r",
            f"The adapter will have about {work.adapters.file_bytes / 1e6:.0f} MB; below 100 MB it is easily"
            " shared. A smaller rank or fewer target modules make it smaller.",
        )


def _without_effect(resolved: training_pb2.TrainingSpec, *, on_cpu: bool) -> Iterator[Violation]:
    yield from nothing_to_page(resolved, on_cpu=on_cpu)
    if resolved.language_model.neftune_alpha > 15:
        yield violation(
            "language_model.neftune_alpha",
            f"{resolved.language_model.neftune_alpha:g}; 5 to 15 are usual, and more drowns the text.",
        )


def _packing_that_mixes(given: training_pb2.TrainingSpec, work: Workload) -> Iterator[Violation]:
    if given.language_model.packing and not work.facts.isolates:
        yield violation(
            "language_model.packing",
            f"In a model of type {work.facts.model_type}, samples that share a row would see each other: if"
            " that shows when the run begins, each gets a row of its own, as with packing off.",
        )


def _unusual_for_data(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, data: DataFacts
) -> Iterator[Violation]:
    yield from unusual_split(given, brings_validation=data.brings_validation)
    yield from batch_beyond_data(resolved, data.train_samples, samples="samples")
