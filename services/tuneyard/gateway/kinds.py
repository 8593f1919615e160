"""What kind of work a job is: its task, its family of trainers, its slot. Read from the spec alone."""

from tuneyard.v1 import job_pb2, system_pb2, training_pb2

_TASKS = {
    "image_classifier": training_pb2.TASK_KIND_IMAGE_CLASSIFIER,
    "object_detector": training_pb2.TASK_KIND_OBJECT_DETECTOR,
    "text_to_image_lora": training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA,
    "language_model": training_pb2.TASK_KIND_LANGUAGE_MODEL,
}
FAMILIES = {
    training_pb2.TASK_KIND_IMAGE_CLASSIFIER: training_pb2.FAMILY_VISION,
    training_pb2.TASK_KIND_OBJECT_DETECTOR: training_pb2.FAMILY_VISION,
    training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA: training_pb2.FAMILY_DIFFUSION,
    training_pb2.TASK_KIND_LANGUAGE_MODEL: training_pb2.FAMILY_LLM,
}
DERIVED_KINDS = ("merge", "export", "evaluate")
"""The kinds of jobs that work on a finished job's model."""
_MAIN_METRICS = {
    training_pb2.TASK_KIND_IMAGE_CLASSIFIER: "eval/accuracy_top1",
    training_pb2.TASK_KIND_OBJECT_DETECTOR: "eval/map50_95",
    training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA: "eval/loss",
    training_pb2.TASK_KIND_LANGUAGE_MODEL: "eval/loss",
}


def family_name(family: "training_pb2.Family.ValueType") -> str:
    """Returns the family as people write it: "vision"."""
    return training_pb2.Family.Name(family).removeprefix("FAMILY_").lower()


def task_of_training(spec: training_pb2.TrainingSpec) -> "training_pb2.TaskKind.ValueType":
    """Returns what a training spec trains; TASK_KIND_UNSPECIFIED if it names no task."""
    task = spec.WhichOneof("task")
    return _TASKS[task] if task else training_pb2.TASK_KIND_UNSPECIFIED


def task_kind(job: job_pb2.Job) -> "training_pb2.TaskKind.ValueType":
    """Returns what a training job trains; TASK_KIND_UNSPECIFIED for merge, export and evaluate."""
    return task_of_training(job.spec.training)


def slot_kind(spec: job_pb2.JobSpec) -> "system_pb2.SlotKind.ValueType":
    """Returns the slot that a job takes: merge and export do not wait behind training."""
    if spec.WhichOneof("kind") in {"merge", "export"}:
        return system_pb2.SLOT_KIND_CPU
    return system_pb2.SLOT_KIND_DEVICE


def watched_metric(spec: job_pb2.JobSpec) -> str:
    """Returns the metric by which a training job's best checkpoint is chosen; "" for other jobs."""
    if spec.WhichOneof("kind") != "training":
        return ""
    return spec.training.early_stopping.metric or _MAIN_METRICS.get(task_of_training(spec.training), "")


def clip_model(spec: job_pb2.JobSpec) -> str:
    """Returns the model of the store that a job's pictures are to be scored by; "" where none is named."""
    if spec.WhichOneof("kind") == "evaluate":
        return spec.evaluate.clip_model
    return spec.training.text_to_image_lora.clip_model


def source_job(spec: job_pb2.JobSpec) -> str:
    """Returns the finished job that a merge, export or evaluate job works on; "" for training."""
    kind = spec.WhichOneof("kind")
    return str(getattr(spec, kind).source_job) if kind in DERIVED_KINDS else ""
