"""The words that people write for what the protos number: formats, families, tasks.

One table each, so that the SDK, the command line and their help agree.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from tuneyard.v1 import dataset_pb2, job_pb2, training_pb2

ValueT = TypeVar("ValueT", bound=int)

DATASET_FORMATS: Final[Mapping[str, dataset_pb2.DatasetFormat.ValueType]] = {
    "image-folder": dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
    "yolo": dataset_pb2.DATASET_FORMAT_YOLO,
    "captioned-images": dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES,
    "jsonl": dataset_pb2.DATASET_FORMAT_JSONL,
}

FAMILIES: Final[Mapping[str, training_pb2.Family.ValueType]] = {
    "vision": training_pb2.FAMILY_VISION,
    "diffusion": training_pb2.FAMILY_DIFFUSION,
    "llm": training_pb2.FAMILY_LLM,
}

TASKS: Final[Mapping[str, training_pb2.TaskKind.ValueType]] = {
    "image-classifier": training_pb2.TASK_KIND_IMAGE_CLASSIFIER,
    "object-detector": training_pb2.TASK_KIND_OBJECT_DETECTOR,
    "text-to-image-lora": training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA,
    "llm": training_pb2.TASK_KIND_LANGUAGE_MODEL,
}

EXPORT_FORMATS: Final[Mapping[str, job_pb2.ExportFormat.ValueType]] = {
    "safetensors": job_pb2.EXPORT_FORMAT_SAFETENSORS,
    "onnx": job_pb2.EXPORT_FORMAT_ONNX,
    "torchscript": job_pb2.EXPORT_FORMAT_TORCHSCRIPT,
    "adapter": job_pb2.EXPORT_FORMAT_ADAPTER,
    "kohya": job_pb2.EXPORT_FORMAT_KOHYA,
    "openvino": job_pb2.EXPORT_FORMAT_OPENVINO,
    "ultralytics": job_pb2.EXPORT_FORMAT_ULTRALYTICS,
}


def value_of(word: str | ValueT, table: Mapping[str, ValueT]) -> ValueT:
    """The number for a word of a table; numbers pass as they are. ValueError names the words."""
    if not isinstance(word, str):
        return word
    if word not in table:
        raise ValueError(f"{word!r} is none of {', '.join(table)}")
    return table[word]


def word_of(value: int, table: Mapping[str, int]) -> str:
    """The word for a number; "" for UNSPECIFIED and for numbers of a newer server."""
    return next((word for word, number in table.items() if number == value), "")
