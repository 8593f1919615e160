"""The `google.api.http` annotations of the public services as routes, and requests bound from HTTP's parts.

The rules are those of google/api/http.proto, as far as the annotations use them: templates with `*` and `**`,
custom verbs, `body: "*"` or none, and query parameters for what remains.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote

from google.api import annotations_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from tuneyard.client.raw import request_class
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_service_pb2,
    inference_service_pb2,
    model_service_pb2,
    system_service_pb2,
    training_service_pb2,
)
from tuneyard.web.json_faults import fault

PUBLIC_SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    service
    for module in (
        training_service_pb2,
        dataset_service_pb2,
        model_service_pb2,
        artifact_service_pb2,
        inference_service_pb2,
        system_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
_VERBS: Final = ("get", "put", "post", "delete", "patch")
_VARIABLE: Final = re.compile(r"\{([a-z0-9_.]+)(?:=([^}]*))?\}")
# Wrapper-like messages that JSON writes as one string, so that a query parameter can hold them.
_STRINGS: Final = frozenset(
    {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"}
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,10}")
_MessageT = TypeVar("_MessageT", bound=Message)
_TRUE: Final = {"true": True, "1": True, "false": False, "0": False}


class BadRequest(Exception):
    """What came over HTTP makes no request; `field` is the path of the field, "" for the body as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass(frozen=True)
class Rule:
    """One HTTP route of one method."""

    method: MethodDescriptor
    verb: str
    """In upper case."""
    template: str
    """Such as "/v1/{name=jobs/*}:cancel"."""
    body: str = field(default="")
    """"*" if the body is the request, "" if there is none."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches raw paths; its groups are the variables' raw values, in order."""
        parts, last = [], 0
        for match in _VARIABLE.finditer(self.template):
            parts.append(re.escape(self.template[last : match.start()]))
            parts.append(f"({_segments(match[2] or '*')})")
            last = match.end()
        return re.compile("".join((*parts, re.escape(self.template[last:]))))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The fields that the path holds."""
        return tuple(match[1] for match in _VARIABLE.finditer(self.template))

    def match(self, path: str) -> Mapping[str, str] | None:
        """The variables' values, if the raw path is this route's."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return {name: unquote(text) for name, text in zip(self.variables, found.groups(), strict=True)}

    def bind(
        self, variables: Mapping[str, str], query: Iterable[tuple[str, str]], body: Mapping[str, Any] | None
    ) -> Message:
        """The request that a path, a query and a JSON body make. Raises BadRequest."""
        values: dict[str, Any] = dict(body or {})
        for name, text in query:
            _put(values, self.method.input_type, name, text)
        for name, text in variables.items():
            _put(values, self.method.input_type, name, text, replace=True)
        return _parsed(values, request_class(self.method)())


def read_query(query: Iterable[tuple[str, str]], message: _MessageT) -> _MessageT:
    """The message, filled in with a query's parameters. Raises BadRequest."""
    # The stubs know two classes of descriptors, of which one is real.
    values, descriptor = dict[str, Any](), cast(Descriptor, message.DESCRIPTOR)
    for name, text in query:
        _put(values, descriptor, name, text)
    return _parsed(values, message)


def _parsed(values: dict[str, Any], message: _MessageT) -> _MessageT:
    try:
        return ParseDict(values, message)
    except ParseError as error:
        path, words = fault(error, values)
        raise BadRequest(f"{path}: {words}" if path else words, field=path) from error


def rules() -> Sequence[Rule]:
    """Every route of the public services."""
    return tuple(_rules())


def _rules() -> Iterator[Rule]:
    for service in PUBLIC_SERVICES:
        for method in service.methods:
            option = method.GetOptions().Extensions[annotations_pb2.http]
            for annotation in (option, *option.additional_bindings):
                for verb in _VERBS:
                    if template := getattr(annotation, verb):
                        yield Rule(method, verb.upper(), template, annotation.body)


def _segments(pattern: str) -> str:
    """A variable's template as a regular expression; a colon begins the verb, so no segment holds one."""
    parts = []
    for segment in pattern.split("/"):
        match segment:
            case "*":
                parts.append("[^/:]+")
            case "**":
                parts.append(".+?")
            case literal:
                parts.append(re.escape(literal))
    return "/".join(parts)


def _put(values: dict[str, Any], message: Descriptor, path: str, text: str, *, replace: bool = False) -> None:
    """Puts one text under a field's path, such as "filter.states", into JSON values."""
    *parents, last = path.split(".")
    at = values
    for name in parents:
        parent = _field(message, name, path)
        if parent.message_type is None or parent.is_repeated:
            raise BadRequest(f"{path}: {name} holds no fields", field=path)
        message = parent.message_type
        key = _key(at, parent)
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            raise BadRequest(f"{path}: {name} is given in the body otherwise", field=path)
    found = _field(message, last, path)
    value = _value(found, text, path)
    key = _key(at, found)
    if found.is_repeated:
        listed = at.setdefault(key, [])
        if not isinstance(listed, list):
            raise BadRequest(f"{path} is given in the body otherwise", field=path)
        listed.append(value)
    elif key in at and not replace:
        raise BadRequest(f"{path} is given twice", field=path)
    else:
        at[key] = value


def _field(message: Descriptor, name: str, path: str) -> FieldDescriptor:
    found = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
    if found is None:
        raise BadRequest(f"{path}: there is no such field", field=path)
    return found


def _key(values: Mapping[str, Any], field: FieldDescriptor) -> str:
    """The name under which the field stands in the values already, else its own."""
    return field.camelcase_name if field.camelcase_name in values else field.name


def _value(field: FieldDescriptor, text: str, path: str) -> Any:
    if field.message_type is not None and field.message_type.full_name not in _STRINGS:
        raise BadRequest(f"{path} is a message: name its fields, such as {path}.NAME", field=path)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text.lower() not in _TRUE:
            raise BadRequest(f"{path}: {text!r} is neither true nor false", field=path)
        return _TRUE[text.lower()]
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM and _NUMBER.fullmatch(text):
        return int(text)
    return text
