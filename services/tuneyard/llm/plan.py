"""A fine-tuning before it is weighed: what is known of its model and data, and settings that fit the device.

Imports no torch. The guide's order of remedies against a lack of memory stands here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tuneyard.llm.catalogue import KNOWN, KnownModel, find
from tuneyard.llm.checks import unknown_model, violations, wrong_format
from tuneyard.llm.data_facts import DataFacts, data_facts
from tuneyard.llm.hints import warnings
from tuneyard.llm.memory import Workload
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import resolve
from tuneyard.llm.workload import workload
from tuneyard.trainer.estimates import (
    Offer,
    Refused,
    Request,
    Violation,
    largest_device,
    largest_divisor,
    smaller_batch,
    violation,
)
from tuneyard.trainer.fitting import fitted, gigabytes, halves, usable_bytes
from tuneyard.v1 import errors_pb2, system_pb2, training_pb2

_SHORTEST = 128
"""Tokens, below which few samples are whole."""
_SMALL_DEVICE_BYTES = 16 << 30
"""Below which the guide tells to use QLoRA."""
_CONSUMER_DEVICE_BYTES = 24 << 30
"""The largest memory of cards that are sold to consumers."""
_LARGE_MODEL = 12e9
"""Weights, from which a model counts as one of 13B and more."""
_WORTHWHILE = 0.9
"""Of LoRA's need: a small model's activations are most of it, and these QLoRA leaves as they are."""
_METHOD = "language_model.method"
_LORA, _QLORA = training_pb2.FINE_TUNING_METHOD_LORA, training_pb2.FINE_TUNING_METHOD_QLORA


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training job before it is weighed."""

    given: training_pb2.TrainingSpec
    resolved: training_pb2.TrainingSpec
    model: ModelFacts
    known: KnownModel | None
    """The catalogue's entry, where the base model is one and not in the store."""
    data: DataFacts | None
    """None while the dataset is not validated."""
    device: system_pb2.Device
    violations: Sequence[Violation]
    warnings: Sequence[Violation]
    workload: Workload

    @property
    def on_cpu(self) -> bool:
        """Whether the processor trains."""
        return self.device.id == "cpu"

    @property
    def limit(self) -> int:
        """What the job may need, in bytes; 0 where the device's memory is not known."""
        return usable_bytes(self.device.memory_total_bytes, on_cpu=self.on_cpu)

    @property
    def fits(self) -> bool:
        """Whether the device has what the job needs, as far as that is known."""
        return not self.limit or self.workload.need(on_cpu=self.on_cpu) <= self.limit

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        hyper = self.resolved.hyperparameters
        return hyper.batch_size * hyper.gradient_accumulation_steps

    @property
    def total_steps(self) -> int:
        """Optimizer steps; 0 while they depend on data that is not known yet."""
        hyper = self.resolved.hyperparameters
        if hyper.HasField("max_steps"):
            return hyper.max_steps
        if self.data is None:
            return 0
        return hyper.epochs * -(-self.data.train_samples // self.effective_batch_size)


def plan_for(request: Request, devices: Sequence[system_pb2.Device]) -> Plan:
    """The plan of a fine-tuning; raises Refused where nothing can be planned."""
    given = request.spec.training
    if given.WhichOneof("task") != "language_model":
        raise Refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED, violation("task", "This trainer trains language models.")
        )
    known = None if request.model.files or request.model.facts else find(given.base_model)
    model = model_facts(request)
    if model is None:
        raise Refused(*unknown_model(given.base_model))
    if wrong := wrong_format(request.dataset.format):
        raise Refused(errors_pb2.ERROR_REASON_INVALID_FIELD, wrong)
    device = largest_device(given, devices)
    resolved, work, told = _fitted(given, model, device)
    if known and not resolved.base_model_revision:
        resolved.base_model_revision = known.revision
    data = data_facts(resolved, request.dataset)
    on_cpu = device.id == "cpu"
    return Plan(
        given=given,
        resolved=resolved,
        model=model,
        known=known,
        data=data,
        device=device,
        violations=violations(given, resolved, model, data, devices),
        warnings=[*warnings(given, resolved, data, work, on_cpu=on_cpu), *told],
        workload=work,
    )


def model_facts(request: Request) -> ModelFacts | None:
    """What is known of the request's base model: by the store's converter, or by the catalogue."""
    if request.model.facts:
        try:
            return ModelFacts.from_json(request.model.facts)
        except ValueError:
            return None
    training = request.spec.training if request.spec.HasField("training") else request.source_spec.training
    known = find(training.base_model)
    return known.facts if known else None


def _fitted(
    given: training_pb2.TrainingSpec, model: ModelFacts, device: system_pb2.Device
) -> tuple[training_pb2.TrainingSpec, Workload, Sequence[Violation]]:
    """The resolved settings, their work, and a warning where they were made to fit."""
    return fitted(
        given,
        resolve(given, model),
        device,
        work_of=lambda spec: workload(spec, model, on_cpu=device.id == "cpu"),
    )


def offers(plan: Plan) -> Iterator[Offer[Workload]]:
    """Single changes that need less, in the order in which the guide tells to try them."""
    work, on_cpu, task = plan.workload, plan.on_cpu, plan.resolved.language_model
    largest = work.largest_batch_size(plan.limit, on_cpu=on_cpu) if plan.limit else 0
    batch = largest_divisor(min(largest, work.batch_size - 1), plan.effective_batch_size)
    if batch:
        text, changes = smaller_batch(batch, plan.effective_batch_size)
        yield Offer(text, changes, replace(work, batch_size=batch))
    if not task.gradient_checkpointing:
        changed = replace(work, checkpointing=True)
        yield Offer("gradient checkpointing", {"language_model.gradient_checkpointing": True}, changed)
    if work.adapters is None and work.optimizer == "adamw":
        changes = {"hyperparameters.optimizer": "OPTIMIZER_PAGED_ADAMW_8BIT"}
        yield _changed(plan, "AdamW with 8-bit state", changes)
    yield from other_methods(plan)
    for length in list(halves(task.max_length))[1:]:
        offer = _changed(plan, f"at most {length} tokens", {"language_model.max_length": length})
        if length >= _SHORTEST and offer.workload.need(on_cpu=on_cpu) <= plan.limit:
            yield offer
            break
    yield from _smaller_model(plan)


def other_methods(plan: Plan) -> Iterator[Offer[Workload]]:
    """Methods that need less than the plan's."""
    method = plan.resolved.language_model.method
    if method == training_pb2.FINE_TUNING_METHOD_FULL:
        yield _changed(plan, "LoRA", {_METHOD: "FINE_TUNING_METHOD_LORA"})
    if method != _QLORA:
        yield _changed(plan, "QLoRA", {_METHOD: "FINE_TUNING_METHOD_QLORA"})


def qlora_advice(plan: Plan) -> Iterator[Violation]:
    """When the guide tells to use QLoRA instead of LoRA, with what both need."""
    memory, accelerator = plan.device.memory_total_bytes, not plan.on_cpu
    if plan.resolved.language_model.method != _LORA or not memory:
        return
    (offer,) = other_methods(plan)
    work = plan.workload
    # At the same batch: what QLoRA leaves free a recommended one would take again.
    quantised = replace(offer.workload, batch_size=work.batch_size, checkpointing=work.checkpointing)
    needed, less = (each.need(on_cpu=plan.on_cpu) for each in (work, quantised))
    if not plan.fits:
        why = "LoRA does not fit"
    elif accelerator and memory < _SMALL_DEVICE_BYTES and less < _WORTHWHILE * needed:
        why = f"{plan.device.id} has less than 16 GB"
    elif accelerator and memory <= _CONSUMER_DEVICE_BYTES and plan.model.parameters >= _LARGE_MODEL:
        why = "A model of 13B or more is large for a consumer card"
    else:
        return
    advice = "QLoRA is recommended" if less <= plan.limit else "QLoRA comes nearer"
    figures = f"At the same batch it needs about {gigabytes(less)}, LoRA {gigabytes(needed)}."
    yield violation(_METHOD, f"{why}: {advice}. {figures}")


def _changed(plan: Plan, description: str, changes: Mapping[str, object]) -> Offer[Workload]:
    """The offer of a change after which whatever was not given is recommended anew."""
    given = training_pb2.TrainingSpec()
    given.CopyFrom(plan.given)
    for path, value in changes.items():
        *parents, name = path.split(".")
        target = given
        for parent in parents:
            target = getattr(target, parent)
        field = target.DESCRIPTOR.fields_by_name[name].enum_type
        setattr(target, name, field.values_by_name[str(value)].number if field else value)
    if given.language_model.method == training_pb2.FINE_TUNING_METHOD_FULL:
        given.language_model.ClearField("lora")
    _, work, _ = _fitted(given, plan.model, plan.device)
    return Offer(description, changes, work)


def _smaller_model(plan: Plan) -> Iterator[Offer[Workload]]:
    """The largest known model, smaller than this one, that fits with the same settings."""
    smaller = [known for known in KNOWN if known.facts.parameters < 0.9 * plan.model.parameters]
    for known in sorted(smaller, key=lambda known: -known.facts.parameters):
        _, work, _ = _fitted(plan.given, known.facts, plan.device)
        if work.need(on_cpu=plan.on_cpu) <= plan.limit:
            yield Offer(known.id, {"base_model": known.id}, work)
            return
