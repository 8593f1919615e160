"""From the guide's flat names to a typed spec: `lora_r` becomes `language_model.lora.lora_r`.

The names are the spec's own, found by its descriptors, so that every field is taken and none is listed twice.
"""

import difflib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from tuneyard.client.errors import InvalidField, Violation
from tuneyard.v1 import training_pb2
from tuneyard.v1.training_pb2 import TrainingSpec
from tuneyard.web.guide.own_names import Naming, below
from tuneyard.web.json_faults import fault

TASKS: Final[Mapping[str, str]] = {
    "image_classifier": "image_classifier",
    "object_detector": "object_detector",
    "text_to_image": "text_to_image_lora",
    "llm": "language_model",
}
"""The guide's `model_type` and the spec's task."""
FORMATS: Final[Mapping[str, str]] = {
    "image_classifier": "image-folder",
    "object_detector": "yolo",
    "text_to_image": "captioned-images",
    "llm": "jsonl",
}
_OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "text_to_image_lora": {"image_size": "resolution"},
    "language_model": {"max_seq_length": "max_length"},
}
_QUANTIZING: Final = (
    "use_4bit",
    "use_8bit",
    "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type",
    "use_nested_quant",
)
_NOT_SETTINGS: Final = ("dataset", "base_model")
_STORED: Final[Mapping[str, str]] = {"clip_model": "models/", "validation_dataset": "datasets/"}
"""Settings that name something in the store, and what its full name begins with."""


def training_spec(
    model_type: str, base_model: str, dataset: str, settings: Mapping[str, Any]
) -> TrainingSpec:
    """The spec that flat settings make; those that are None are as if absent.

    Raises InvalidField with every name that is unknown and the first value that is of another kind.
    """
    if model_type not in TASKS:
        raise _invalid("model_type", f"{model_type!r} is none of {', '.join(TASKS)}")
    task = TASKS[model_type]
    given = {name: value for name, value in settings.items() if value is not None}
    if task == "language_model":
        _choose_method(given)
    known = _fields(task)
    groups = {*TrainingSpec.DESCRIPTOR.fields_by_name} - ({*TASKS.values()} - {task})
    unknown = [name for name in given if name not in known and name not in groups]
    if unknown:
        raise InvalidField(
            f"unknown: {', '.join(unknown)}",
            reason="INVALID_FIELD",
            violations=[Violation(name, _hint(name, known)) for name in unknown],
        )
    values: dict[str, Any] = {"dataset": dataset, "base_model": base_model, task: {}}
    # Whole groups, as the typed spec has them, go first: they would hide what stands in them already.
    values |= {name: deepcopy(value) for name, value in given.items() if name not in known}
    for name, value in given.items():
        if name in known:
            path, field = known[name]
            _put(values, path, _value(field, name, value), name=name)
    try:
        return ParseDict(values, TrainingSpec())
    except ParseError as error:
        path, words = fault(error, values)
        raise _invalid(spec_naming(model_type, settings)(f"spec.{path}") if path else "", words) from error


def _choose_method(given: dict[str, Any]) -> None:
    """QLoRA where a quantised base is asked for; what says "no" to it is left out."""
    wanted = given.get("method") or ""
    quantizes = any(given.get(name) not in (None, False) for name in ("use_4bit", "use_8bit")) or any(
        name in given for name in _QUANTIZING[2:]
    )
    if not wanted and quantizes:
        given["method"] = wanted = "qlora"
    if wanted != "qlora":
        for name in _QUANTIZING:
            if given.get(name) is False:
                del given[name]


@functools.cache
def _fields(task: str) -> Mapping[str, tuple[str, FieldDescriptor]]:
    """Each flat name's path and field; of equal names the task's own wins."""
    found: dict[str, tuple[str, FieldDescriptor]] = {}
    root = TrainingSpec.DESCRIPTOR
    for field in root.fields:
        if field.containing_oneof is not None and field.containing_oneof.name == "task":
            continue
        if field.message_type is None:
            if field.name not in _NOT_SETTINGS:
                found[field.name] = (field.name, field)
        else:
            found |= _leaves(field.message_type, f"{field.name}.")
    chosen = root.fields_by_name[task].message_type
    assert chosen is not None
    found |= _leaves(chosen, f"{task}.")
    found |= {name: found[field] for name, field in _OTHER_NAMES.get(task, {}).items()}
    return found


def _leaves(message: Descriptor, prefix: str) -> dict[str, tuple[str, FieldDescriptor]]:
    return dict(_walk(message, prefix))


def _walk(message: Descriptor, prefix: str) -> Iterator[tuple[str, tuple[str, FieldDescriptor]]]:
    for field in message.fields:
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry:
            yield field.name, (f"{prefix}{field.name}", field)
        else:
            yield from _walk(inner, f"{prefix}{field.name}.")


def _value(field: FieldDescriptor, name: str, value: Any) -> Any:
    """A value as proto3 JSON has it: words of enums, lists that came as one text, numbers from forms, whole
    names of what is in the store.
    """
    if field.name in _STORED and isinstance(value, str):
        return _stored(_STORED[field.name], value)
    if field.is_repeated and isinstance(value, str):
        return _listed(field, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and isinstance(value, str):
        truths = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
        if value.lower() not in truths:
            raise _invalid(name, f"{value!r} is neither true nor false")
        return truths[value.lower()]
    if field.enum_type is not None and isinstance(value, str):
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        known = {each.name.removeprefix(prefix).lower(): each.name for each in field.enum_type.values}
        if value in field.enum_type.values_by_name:
            return value
        if value.lower() not in known:
            words = ", ".join(word for word in known if word != "unspecified")
            raise _invalid(name, f"{value!r} is none of {words}")
        return known[value.lower()]
    return value


def _stored(root: str, name: str) -> str:
    """Of "clip", "models/clip" and "/models/clip" all the same; what is none, the server refuses."""
    bare = name.removeprefix("/").removeprefix(root)
    return f"{root}{bare}" if bare and "/" not in bare else name


def _listed(field: FieldDescriptor, text: str) -> Any:
    """Several values that came as one text: JSON, or parted by commas."""
    with suppress(ValueError):
        if isinstance(found := json.loads(text), list | dict):
            return found
    return text if field.message_type else [part.strip() for part in text.split(",") if part.strip()]


def _put(values: dict[str, Any], path: str, value: Any, *, name: str) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise _invalid(name, f"{parent} is given otherwise")
    if last in values:
        raise _invalid(name, f"is given twice: as such, and in {'.'.join(parents)}")
    values[last] = value


def _hint(name: str, known: Mapping[str, object]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    return f"there is no such setting; did you mean {similar[0]}?" if similar else "there is no such setting"


def _invalid(field: str, description: str) -> InvalidField:
    return InvalidField(
        f"{field}: {description}" if field else description,
        reason="INVALID_FIELD",
        violations=[Violation(field, description)] if field else [],
    )


def spec_naming(model_type: str, settings: Mapping[str, Any], *, dataset: str = "dataset_path") -> Naming:
    """The caller's names for paths of a request with a spec that was made of these settings.

    "spec.language_model.lora.lora_r" is "lora_r", but what was given under another name, or in a group, is
    called so; a group that was not given is called by the first of its settings that was.
    """
    known, given = _fields(TASKS[model_type]), [name for name, value in settings.items() if value is not None]

    def named(path: str) -> str:
        inner = path.removeprefix("spec.")
        return path if inner == path else below(inner, "dataset", dataset) or _setting(inner, given, known)

    return named


def _setting(path: str, given: Sequence[str], known: Mapping[str, tuple[str, object]]) -> str:
    flat = [(name, known[name][0]) for name in given if name in known]
    if own := _first(path, flat):
        return own
    if path.partition(".")[0] in given:
        return path
    within = (name for name, place in flat if place.startswith(f"{path}."))
    unset = _first(path, ((name, place) for name, (place, _) in known.items()))
    return next(within, unset or path.rpartition(".")[2])


def _first(path: str, names: Iterable[tuple[str, str]]) -> str | None:
    return next((own for name, place in names if (own := below(path, place, name)) is not None), None)


def family_of(model_type: str) -> "training_pb2.TaskKind.ValueType":
    """The kind of task of a `model_type`."""
    return {
        "image_classifier": training_pb2.TASK_KIND_IMAGE_CLASSIFIER,
        "object_detector": training_pb2.TASK_KIND_OBJECT_DETECTOR,
        "text_to_image": training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA,
        "llm": training_pb2.TASK_KIND_LANGUAGE_MODEL,
    }[model_type]
