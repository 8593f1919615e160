"""A training before it is weighed: what is known of its pipeline and data, and settings that fit the device.

Imports no torch. The guide's order of remedies against a lack of memory stands here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tuneyard.diffusion.catalogue import KNOWN, KnownModel, find
from tuneyard.diffusion.checks import (
    CLIP_FIELD,
    unknown_model,
    violations,
    wrong_clip_model,
    wrong_format,
)
from tuneyard.diffusion.clip_files import ClipFacts
from tuneyard.diffusion.data_facts import DataFacts, data_facts
from tuneyard.diffusion.hints import warnings
from tuneyard.diffusion.memory import Workload
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.recommended import resolve
from tuneyard.diffusion.workload import workload
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
from tuneyard.trainer.fitting import fitted, usable_bytes
from tuneyard.v1 import errors_pb2, system_pb2, training_pb2

_RESOLUTIONS = (1024, 768, 512, 256)
"""That are tried instead of a larger one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training job before it is weighed."""

    given: training_pb2.TrainingSpec
    resolved: training_pb2.TrainingSpec
    model: PipelineFacts
    known: KnownModel | None
    """The catalogue's entry, where the base model is one and not in the store."""
    data: DataFacts | None
    """None while the dataset is not validated."""
    device: system_pb2.Device
    violations: Sequence[Violation]
    warnings: Sequence[Violation]
    workload: Workload
    clip: ClipFacts | None = None
    """What scores sample images, where that is wanted."""

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
        """Images per optimizer step."""
        hyper = self.resolved.hyperparameters
        return hyper.batch_size * hyper.gradient_accumulation_steps

    @property
    def samples_per_epoch(self) -> int:
        """0 while they are not known."""
        prior = self.resolved.text_to_image_lora.prior_loss_weight > 0
        return self.data.samples_per_epoch(prior_preservation=prior) if self.data else 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps; 0 while they depend on data that is not known yet."""
        hyper = self.resolved.hyperparameters
        if hyper.HasField("max_steps"):
            return hyper.max_steps
        return hyper.epochs * -(-self.samples_per_epoch // self.effective_batch_size)


def plan_for(request: Request, devices: Sequence[system_pb2.Device]) -> Plan:
    """The plan of a training; raises Refused where nothing can be planned."""
    given = request.spec.training
    if given.WhichOneof("task") != "text_to_image_lora":
        raise Refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            violation("task", "This trainer trains text-to-image LoRAs."),
        )
    known = None if request.model.files or request.model.facts else find(given.base_model)
    model = pipeline_facts(request)
    if model is None:
        raise Refused(*unknown_model(given.base_model))
    if wrong := wrong_format(request.dataset.format):
        raise Refused(errors_pb2.ERROR_REASON_INVALID_FIELD, wrong)
    device = largest_device(given, devices)
    clip = clip_facts(request)
    resolved, work, told = _fitted(given, model, device, clip)
    if known and not resolved.base_model_revision:
        resolved.base_model_revision = known.revision
    data = data_facts(resolved, request.dataset)
    return Plan(
        given=given,
        resolved=resolved,
        model=model,
        known=known,
        data=data,
        device=device,
        violations=[
            *violations(given, resolved, model, data, devices),
            *wrong_clip_model(given.text_to_image_lora.clip_model, clip, at=CLIP_FIELD),
        ],
        warnings=[*warnings(given, resolved, model, data, on_cpu=device.id == "cpu"), *told],
        workload=work,
        clip=clip,
    )


def pipeline_facts(request: Request) -> PipelineFacts | None:
    """What is known of the request's base model: by the store's converter, or by the catalogue."""
    if request.model.facts:
        try:
            return PipelineFacts.from_json(request.model.facts)
        except ValueError:
            return None
    training = request.spec.training if request.spec.HasField("training") else request.source_spec.training
    known = find(training.base_model)
    return known.facts if known else None


def clip_facts(request: Request) -> ClipFacts | None:
    """What is known of the model that is to score pictures; None where there is none, or it is no CLIP."""
    try:
        return ClipFacts.from_json(request.clip_model.facts) if request.clip_model.facts else None
    except ValueError:
        return None


def _fitted(
    given: training_pb2.TrainingSpec,
    model: PipelineFacts,
    device: system_pb2.Device,
    clip: ClipFacts | None = None,
) -> tuple[training_pb2.TrainingSpec, Workload, Sequence[Violation]]:
    """The resolved settings, their work, and a warning where they were made to fit."""
    return fitted(
        given,
        resolve(given, model),
        device,
        work_of=lambda spec: workload(spec, model, on_cpu=device.id == "cpu", clip=clip),
    )


def offers(plan: Plan) -> Iterator[Offer[Workload]]:
    """Single changes that need less, in the order in which the guide tells to try them."""
    work, on_cpu, task = plan.workload, plan.on_cpu, plan.resolved.text_to_image_lora
    largest = work.largest_batch_size(plan.limit, on_cpu=on_cpu) if plan.limit else 0
    batch = largest_divisor(min(largest, work.batch_size - 1), plan.effective_batch_size)
    if batch:
        text, batch_changes = smaller_batch(batch, plan.effective_batch_size)
        yield Offer(text, batch_changes, replace(work, batch_size=batch))
    if not task.gradient_checkpointing:
        changes: Mapping[str, object] = {"text_to_image_lora.gradient_checkpointing": True}
        yield Offer("gradient checkpointing", changes, replace(work, checkpointing=True))
    if not work.cached and not task.train_text_encoder:
        changes = {"text_to_image_lora.random_crop": False, "text_to_image_lora.cache_latents": True}
        yield Offer("latents that are computed ahead", changes, replace(work, cached=True, cached_texts=True))
    for side in _RESOLUTIONS:
        smaller = replace(work, resolution=side)
        if side < task.resolution and smaller.need(on_cpu=on_cpu) <= plan.limit:
            yield Offer(f"images of {side} px", {"text_to_image_lora.resolution": side}, smaller)
            break
    yield from _smaller_model(plan)


def _smaller_model(plan: Plan) -> Iterator[Offer[Workload]]:
    """The largest known model, smaller than this one, that fits with the same settings."""
    smaller = [known for known in KNOWN if known.facts.parameters < 0.9 * plan.model.parameters]
    for known in sorted(smaller, key=lambda known: -known.facts.parameters):
        _, work, _ = _fitted(plan.given, known.facts, plan.device, plan.clip)
        if work.need(on_cpu=plan.on_cpu) <= plan.limit:
            yield Offer(known.id, {"base_model": known.id}, work)
            return
