"""The options of `train` and `estimate`: one for each field of the typed spec, read from the protos.

Bounds are not checked here: the gateway does that, and answers with every violation at once.
"""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final

import typer
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from tuneyard.cli.command import UsageFailure
from tuneyard.v1 import rules_pb2
from tuneyard.v1.training_pb2 import TrainingSpec

# The field of TrainingSpec.task for each TASK of the command line, and the format of its datasets.
TASK_FIELDS: Final[Mapping[str, str]] = {
    "image-classifier": "image_classifier",
    "object-detector": "object_detector",
    "text-to-image-lora": "text_to_image_lora",
    "llm": "language_model",
}
TASK_FORMATS: Final[Mapping[str, str]] = {
    "image-classifier": "image-folder",
    "object-detector": "yolo",
    "text-to-image-lora": "captioned-images",
    "llm": "jsonl",
}

# Where a field's own name says too little on a command line, or the guide has a word for it.
_FLAGS: Final[Mapping[str, str]] = {
    "base_model_revision": "revision",
    "early_stopping.patience": "early-stopping-patience",
    "early_stopping.metric": "early-stopping-metric",
    "early_stopping.min_delta": "early-stopping-min-delta",
    "data_split.max_train_samples": "subset",
}
_GIVEN_APART: Final = frozenset({"dataset", "base_model"})
_PANELS: Final[Mapping[str, str]] = {
    "": "What to train",
    "hyperparameters": "Training",
    "resources": "Devices",
    "checkpoints": "Checkpoints",
    "early_stopping": "Early stopping",
    "data_split": "Data",
    "augmentation": "Augmentation",
    "lora": "LoRA",
    "quantization": "Quantisation",
}
_OF_STORE: Final = "models/"
"""How names in the store begin, and the patterns of fields that take nothing else."""
_INTEGERS: Final = frozenset({FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64})


@dataclass(frozen=True)
class SpecOption:
    """One field of the spec as an option."""

    path: str
    """From the spec's root, such as "hyperparameters.epochs"."""
    flag: str
    """Without dashes, such as "epochs"."""
    panel: str
    field: FieldDescriptor

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as typer reads it from a signature."""
        default: Any = [] if self.field.is_repeated else None
        name = self.flag.replace("-", "_")
        # A flag that a user sets must differ from one that nobody touched, hence no default but None.
        names = (f"--{self.flag}/--no-{self.flag}",) if self._is_flag else (f"--{self.flag}",)
        option = typer.Option(
            *names,
            help=self._help,
            metavar=self._metavar,
            rich_help_panel=self.panel,
            show_default=False,
            parser=self._parse if self._is_choice else None,
            autocompletion=self._completed if self._is_choice else None,
        )
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[self._type, option],
        )

    def put(self, spec: dict[str, Any], value: Any) -> None:
        """Writes the option's value into a spec in proto JSON."""
        if value is None or value == []:
            return
        if self._is_choice:
            value = f"{_enum_prefix(self.field)}{value.replace('-', '_').upper()}"
        elif _is_map(self.field):
            value = dict(_pair(item, self.flag) for item in value)
        elif _rules(self.field).pattern.startswith(_OF_STORE) and "/" not in value:
            value = f"{_OF_STORE}{value}"
        _put(spec, self.path, value)

    @property
    def _is_flag(self) -> bool:
        return self.field.type == FieldDescriptor.TYPE_BOOL

    @property
    def _is_choice(self) -> bool:
        return self.field.type == FieldDescriptor.TYPE_ENUM

    def _parse(self, text: str) -> str:
        """One of the words, whatever its capitals; typer's own message is about Python's types."""
        words, word = _words(self.field), text.lower().replace("_", "-")
        if word in words:
            return word
        similar = get_close_matches(word, words, n=1, cutoff=0.8)
        hint = f" Did you mean {similar[0]}?" if similar else ""
        raise typer.BadParameter(f"{text!r} is none of {', '.join(words)}.{hint}")

    def _completed(self, incomplete: str) -> list[str]:
        return [word for word in _words(self.field) if word.startswith(incomplete.lower())]

    @property
    def _type(self) -> Any:
        if self.field.is_repeated:
            return list[str]
        if self._is_flag:
            return bool | None
        if self.field.type in _INTEGERS:
            return int | None
        return (float if self.field.type == FieldDescriptor.TYPE_DOUBLE else str) | None

    @property
    def _metavar(self) -> str | None:
        if _is_map(self.field):
            return "NAME=VALUE"
        if self._is_choice:
            return f"[{'|'.join(_words(self.field))}]"
        return None if self._is_flag else _metavar(self.field)

    @property
    def _help(self) -> str:
        assert self.field.containing_type is not None
        text = _field_help()[f"{self.field.containing_type.name}.{self.field.name}"]
        rules = _rules(self.field)
        notes = []
        if rules.HasField("usual_min") and rules.HasField("usual_max"):
            notes.append(f"Usual: {rules.usual_min:g} to {rules.usual_max:g}.")
        if self.field.is_repeated:
            notes.append("May be given several times.")
        return " ".join([text.removeprefix("Required. "), *notes])


@cache
def options_of(task: str) -> Sequence[SpecOption]:
    """The options of a TASK, in the order of the protos; those of the task itself first."""
    chosen = TASK_FIELDS[task]
    root = TrainingSpec.DESCRIPTOR
    message = root.fields_by_name[chosen].message_type
    assert message is not None
    own = list(_walk(message, f"{chosen}.", title=_title(chosen)))
    shared: list[SpecOption] = []
    for field in root.fields:
        if field.containing_oneof is not None and field.containing_oneof.name == "task":
            continue
        if field.message_type is not None:
            shared += _walk(field.message_type, f"{field.name}.", title=_PANELS[field.name])
        elif field.name not in _GIVEN_APART:
            shared.append(_option(field, field.name, title=_PANELS[""]))
    return [*shared, *own]


def build_spec(
    task: str,
    *,
    dataset: str,
    base_model: str,
    values: Mapping[str, Any],
    settings: Sequence[str] = (),
) -> TrainingSpec:
    """The spec for options by flag and `--set path=value`s; UsageFailure for what cannot be."""
    spec: dict[str, Any] = {"dataset": dataset, "base_model": base_model, TASK_FIELDS[task]: {}}
    for option in options_of(task):
        option.put(spec, values.get(option.flag.replace("-", "_")))
    for setting in settings:
        path, value = _pair(setting, "set")
        _check_path(path)
        _put(spec, path, _literal(value))
    try:
        return ParseDict(spec, TrainingSpec())
    except ParseError as error:
        raise UsageFailure(f"not a training spec: {error}") from error


def _walk(message: Descriptor, prefix: str, *, title: str) -> Iterator[SpecOption]:
    for field in message.fields:
        if field.message_type is not None and not _is_map(field):
            yield from _walk(field.message_type, f"{prefix}{field.name}.", title=_PANELS[field.name])
        else:
            yield _option(field, prefix + field.name, title=title)


def _option(field: FieldDescriptor, path: str, *, title: str) -> SpecOption:
    return SpecOption(path, _FLAGS.get(path, field.name.replace("_", "-")), title, field)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _rules(field: FieldDescriptor) -> rules_pb2.FieldRules:
    return field.GetOptions().Extensions[rules_pb2.rules]


def _metavar(field: FieldDescriptor) -> str:
    unit = _rules(field).unit
    kind = {FieldDescriptor.TYPE_STRING: "TEXT", FieldDescriptor.TYPE_DOUBLE: "X"}.get(field.type, "N")
    return unit.upper() if unit and unit != "px" else "PIXELS" if unit else kind


def _enum_prefix(field: FieldDescriptor) -> str:
    assert field.enum_type is not None
    return field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _words(field: FieldDescriptor) -> Sequence[str]:
    assert field.enum_type is not None
    return [choice(field, value.number) for value in field.enum_type.values if value.number]


def choice(field: FieldDescriptor, number: int) -> str:
    """The word of the command line for a value of an enum field; the number for one of a newer server."""
    assert field.enum_type is not None
    found = field.enum_type.values_by_number.get(number)
    return found.name.removeprefix(_enum_prefix(field)).lower().replace("_", "-") if found else str(number)


def _check_path(path: str) -> None:
    """UsageFailure with what there is, where a path names no field of the spec."""
    message, walked = TrainingSpec.DESCRIPTOR, list[str]()
    for name in path.split("."):
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        if field is None:
            names = [each.name for each in message.fields]
            similar = get_close_matches(name, names, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there is {', '.join(names)}"
            raise UsageFailure(
                f"--set {path}: no field {name!r} in {'.'.join(walked) or 'the spec'}", hints=(hint,)
            )
        if field.message_type is None or _is_map(field):
            return
        message = field.message_type
        walked.append(name)


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise UsageFailure(f"--{flag} {text!r} must look like NAME=VALUE")
    return name.strip(), value.strip()


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(spec: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        spec = spec.setdefault(parent, {})
        if not isinstance(spec, dict):
            raise UsageFailure(f"{path}: {parent} is not a group of settings")
    spec[name] = value


@cache
def _field_help() -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(
        resources.files(__package__).joinpath("field_help.json").read_text("utf-8")
    )
    return found
