"""What the trainer answers before a job: the resolved spec, what is wrong with it, and what it would need.

Imports no torch. Memory is predicted in `memory`, time in `timing`; jobs that work on a finished one are
answered in `derived`.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.diffusion import derived, timing
from tuneyard.diffusion.plan import Plan, offers, plan_for
from tuneyard.trainer import speeds as speeds_file
from tuneyard.trainer.estimates import (
    Refused,
    Request,
    Response,
    Violation,
    alternatives,
    given_fields,
    memory_use,
    refused,
    told,
    violation,
)
from tuneyard.trainer.fitting import gigabytes
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.trainer.known_models import missing
from tuneyard.v1 import errors_pb2, job_pb2, system_pb2

_NO_LIMIT = 1 << 62
"""Bytes: what a device of unknown memory is taken to have."""


def estimate(
    request: Request,
    devices: Sequence[system_pb2.Device],
    *,
    places: HubPlaces | None = None,
    speeds: Path | None = None,
) -> Response:
    """Resolves a spec and predicts what it needs on the largest of the devices.

    `places` tells whether a known base model can be had; without it that is not judged. `speeds` is the file
    of what earlier runs took on this machine.
    """
    if request.spec.WhichOneof("kind") != "training":
        return derived.estimate(request)
    try:
        plan = plan_for(request, devices)
    except Refused as error:
        return refused(error.reason, error.violation)
    answer = _answer(plan, dataset_bytes=request.dataset.size_bytes)
    reason = errors_pb2.ERROR_REASON_INVALID_FIELD if plan.violations else errors_pb2.ERROR_REASON_UNSPECIFIED
    if plan.known and places and (gone := missing(plan.known, plan.resolved.base_model_revision, places)):
        answer.violations.append(gone)
        reason = reason or errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
    seconds = timing.seconds(plan, speeds_file.read(speeds) if speeds else {})
    if seconds is not None:
        answer.duration.FromTimedelta(timedelta(seconds=round(seconds)))
    if not answer.fits:
        answer.violations.append(_does_not_fit(plan))
        reason = reason or errors_pb2.ERROR_REASON_DOES_NOT_FIT
    return Response(estimate=answer, reason=reason)


def _answer(plan: Plan, *, dataset_bytes: int) -> job_pb2.Estimate:
    data, work, policy = plan.data, plan.workload, plan.resolved.checkpoints
    images = data.images if data else 0
    base = plan.model.dtype_bytes * plan.model.parameters + (plan.clip.stored_bytes if plan.clip else 0)
    kept = policy.keep_last + policy.keep_best + 1
    checkpoints = kept * work.checkpoint_bytes()
    answer = job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(training=plan.resolved),
        given_fields=list(given_fields(plan.given)),
        violations=told(plan.violations),
        warnings=told(plan.warnings),
        total_steps=plan.total_steps,
        effective_batch_size=plan.effective_batch_size,
        train_samples=data.train_samples if data else 0,
        validation_samples=data.validation_samples if data else 0,
        memory=memory_use(work, on_cpu=plan.on_cpu),
        disk_bytes=2 * dataset_bytes + base + checkpoints + work.artifact_bytes() + work.cache_bytes(images),
        artifact_bytes=work.artifact_bytes(),
        fits=plan.fits,
    )
    if plan.limit:
        largest = work.largest_batch_size(plan.limit, on_cpu=plan.on_cpu)
        # No batch is larger than the data.
        answer.largest_batch_size = min(largest, answer.train_samples or largest)
    if not plan.fits:
        limit = plan.limit or _NO_LIMIT
        answer.alternatives.extend(alternatives(offers(plan), limit=limit, on_cpu=plan.on_cpu))
    return answer


def _does_not_fit(plan: Plan) -> Violation:
    need, memory = plan.workload.need(on_cpu=plan.on_cpu), plan.device.memory_total_bytes
    hyper, task = plan.resolved.hyperparameters, plan.resolved.text_to_image_lora
    with_it = " with gradient checkpointing" if task.gradient_checkpointing else ""
    most = plan.workload.largest_batch_size(plan.limit, on_cpu=plan.on_cpu)
    fits = f"; at most {most} would fit" if most else ""
    return violation(
        "hyperparameters.batch_size",
        f"A batch of {hyper.batch_size} at {task.resolution} px{with_it} needs about {gigabytes(need)}, and"
        f" {plan.device.id} has {gigabytes(memory)}{fits}.",
    )
