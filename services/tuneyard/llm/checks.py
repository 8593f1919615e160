"""What is wrong with a fine-tuning's spec. Imports no torch, changes nothing; what is only unusual: `hints`.

The ranges of single fields and what contradicts itself without a model are checked at the gateway; here is
what needs the model, the data, the devices or the installed libraries.
"""

import difflib
import importlib.util
from collections.abc import Iterator, Sequence

from tuneyard.llm.builtin_templates import BUILTIN
from tuneyard.llm.catalogue import KNOWN
from tuneyard.llm.data_facts import DataFacts
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import METRICS
from tuneyard.llm.targets import ALL_LINEAR, default_targets, leaf
from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import (
    impossible_on_devices,
    is_hub_id,
    moving_revision,
    unknown_metric,
    wrong_dataset_format,
)
from tuneyard.v1 import dataset_pb2, errors_pb2, system_pb2, training_pb2

_HEADS = frozenset({"lm_head", "embed_out"})
"""Names of heads, which are not among the linear layers that facts count."""
_EIGHT_BIT_OPTIMIZERS = (training_pb2.OPTIMIZER_ADAMW_8BIT, training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT)
_TARGETS = "language_model.lora.target_modules"


def unknown_model(base_model: str) -> tuple["errors_pb2.ErrorReason.ValueType", Violation]:
    """What to answer where nothing is known of the base model: the reason, and what to do."""
    if base_model.startswith("models/"):
        return errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, violation(
            "base_model",
            f"{base_model!r} is no language model that can be trained. Import one in transformers' layout"
            " (config.json, *.safetensors, tokenizer.json): `tuneyard models import FOLDER --name NAME`.",
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
        f"There is no language model {base_model!r}.{meant} `tuneyard models list` lists known ones;"
        f" import any other with `tuneyard models import FOLDER_OR_HUB_ID --name {base_model or 'NAME'}`.",
    )


def wrong_format(format: "dataset_pb2.DatasetFormat.ValueType") -> Violation | None:
    """A violation if the dataset's layout is another family's."""
    wanted = dataset_pb2.DATASET_FORMAT_JSONL
    return wrong_dataset_format(format, wanted=wanted, trained="A language model")


def violations(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    facts: ModelFacts,
    data: DataFacts | None,
    devices: Sequence[system_pb2.Device],
) -> list[Violation]:
    """Everything for which the job would be refused, its memory aside."""
    return [
        *_contradictions(given, resolved),
        *_unknown_names(resolved),
        *_impossible_for_model(resolved, facts),
        *_missing_libraries(resolved),
        *impossible_on_devices(resolved, devices, trained="a language model"),
        *(_impossible_with_data(resolved, data) if data else ()),
    ]


def _contradictions(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec
) -> Iterator[Violation]:
    hyper, task = given.hyperparameters, resolved.language_model
    if hyper.HasField("momentum") and resolved.hyperparameters.optimizer != training_pb2.OPTIMIZER_SGD:
        yield violation("hyperparameters.momentum", "Only OPTIMIZER_SGD has a momentum.")
    if hyper.data_loader_workers:
        yield violation(
            "hyperparameters.data_loader_workers",
            "Tokens are read from a mapped file, without processes that load them: leave it unset.",
        )
    bits, at = given.language_model.quantization, "language_model.quantization"
    if bits.use_8bit:
        for name in ("bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "use_nested_quant"):
            if getattr(bits, name):
                yield violation(f"{at}.{name}", "This is for bases in 4 bits; with use_8bit leave it unset.")
        if task.lora.use_dora:
            yield violation(
                "language_model.lora.use_dora",
                "DoRA needs the norms of the base's weights, which 8 bits do not give: use 4 bits, or LoRA.",
            )


def _unknown_names(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    name = resolved.language_model.chat_template
    if name and name not in BUILTIN:
        close = difflib.get_close_matches(name.lower(), BUILTIN, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        yield violation(
            "language_model.chat_template",
            f"There is no built-in chat template {name!r}.{meant} There are: {', '.join(BUILTIN)}.",
        )
    yield from unknown_metric(resolved, METRICS)
    yield from moving_revision(resolved)


def _impossible_for_model(resolved: training_pb2.TrainingSpec, facts: ModelFacts) -> Iterator[Violation]:
    task = resolved.language_model
    if 0 < facts.max_positions < task.max_length:
        yield violation(
            "language_model.max_length",
            f"The model's positions end at {facts.max_positions} tokens; {task.max_length} are too many.",
        )
    if task.method == training_pb2.FINE_TUNING_METHOD_FULL or not facts.linears:
        return
    names = sorted({linear.name for linear in facts.linears})
    wanted = list(task.lora.target_modules)
    if not wanted and not default_targets(names):
        yield violation(_TARGETS, f"Name the layers to adapt; the model has {', '.join(names)}.")
    unknown = [name for name in wanted if leaf(name) not in {*names, *_HEADS, ALL_LINEAR}]
    if unknown:
        yield violation(
            _TARGETS,
            f"The model has no linear layer named {', '.join(unknown)}. It has {', '.join(names)};"
            f" {ALL_LINEAR} means all of them.",
        )


def _missing_libraries(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    if importlib.util.find_spec("bitsandbytes") is not None:
        return
    needed = "needs bitsandbytes on the trainer's machine: `pip install bitsandbytes`."
    if resolved.language_model.method == training_pb2.FINE_TUNING_METHOD_QLORA:
        yield violation("language_model.method", f"QLoRA {needed}")
    if resolved.hyperparameters.optimizer in _EIGHT_BIT_OPTIMIZERS:
        yield violation("hyperparameters.optimizer", f"An optimizer with 8-bit state {needed}")


def _impossible_with_data(resolved: training_pb2.TrainingSpec, data: DataFacts) -> Iterator[Violation]:
    splits_itself = not data.brings_validation and not resolved.data_split.validation_dataset
    if splits_itself and not data.validation_samples:
        yield violation(
            "dataset",
            "The dataset has too few samples to hold one out for validation: add samples, or a val split.",
        )
    elif data.train_samples < 1:
        yield violation("dataset", "The dataset has no training sample.")
