"""Writes clients/tuneyard/web/openapi.json, what /v1 answers, from the protos: called by `make protos`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_reference import ENUM, MEMBER, MESSAGE, PACKAGE, SERVICE, Comments
from google.api import annotations_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from openapi_transfers import transfers

from tuneyard.v1 import rules_pb2

Json = dict[str, Any]
_VARIABLE = re.compile(r"\{([a-z0-9_.]+)(?:=([^}]*))?\}")
_TYPE = FieldDescriptorProto
# 64-bit numbers are strings in proto3 JSON; they may be given as numbers too.
_LONG = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_SCALARS: dict[int, Json] = {
    _TYPE.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _TYPE.TYPE_FLOAT: {"type": "number", "format": "float"},
    _TYPE.TYPE_INT32: {"type": "integer", "format": "int32"},
    _TYPE.TYPE_UINT32: {"type": "integer", "minimum": 0},
    _TYPE.TYPE_INT64: _LONG,
    _TYPE.TYPE_UINT64: _LONG,
    _TYPE.TYPE_BOOL: {"type": "boolean"},
    _TYPE.TYPE_STRING: {"type": "string"},
    _TYPE.TYPE_BYTES: {"type": "string", "format": "byte"},
}
_WELL_KNOWN: dict[str, Json] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.Value": {},
}
_PROBLEM: Json = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people."},
        "reason": {
            "type": "string",
            "description": "A name of ErrorReason without its prefix, to branch on.",
        },
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "resource": {"type": "string"},
    },
}


_TOLD_PROBLEM: Json = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def document(image: Path) -> str:
    """The file's text, from an image that holds source information."""
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    own = [file for file in files if file.package == PACKAGE and not file.name.endswith("rules.proto")]
    messages = {f".{PACKAGE}.{message.name}": message for file in own for message in file.message_type}
    comments = {
        f".{PACKAGE}.{message.name}": (Comments(file), index)
        for file in own
        for index, message in enumerate(file.message_type)
    }
    schemas: Json = {"Problem": _PROBLEM}
    for file in own:
        for index, message in enumerate(file.message_type):
            schemas[message.name] = _message(message, Comments(file), index)
        for index, enum in enumerate(file.enum_type):
            schemas[enum.name] = _enum(enum, Comments(file), index)
    paths: Json = {}
    for file in own:
        for route, verb, operation in _operations(file, messages, comments):
            paths.setdefault(route, {})[verb] = operation
    paths |= transfers(_TOLD_PROBLEM)
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tuneyard",
            "version": "v1",
            "description": "Trains models on your own machines. Streams are server-sent events.",
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
        "paths": paths,
    }
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def _operations(
    file: FileDescriptorProto, messages: dict[str, DescriptorProto], comments: dict[str, tuple[Comments, int]]
) -> Iterator[tuple[str, str, Json]]:
    told = Comments(file)
    for service_index, service in enumerate(file.service):
        for index, method in enumerate(service.method):
            option = method.options.Extensions[annotations_pb2.http]
            verb = option.WhichOneof("pattern")
            if not verb:
                continue
            template = getattr(option, verb)
            operation: Json = {
                "operationId": method.name,
                "tags": [service.name],
                "description": told.at(SERVICE, service_index, MEMBER, index),
                "parameters": [],
                "responses": _responses(method),
            }
            variables = [match[1] for match in _VARIABLE.finditer(template)]
            for match in _VARIABLE.finditer(template):
                operation["parameters"] += _path_parameters(match, method, messages, comments)
            if option.body:
                schema = {"$ref": f"#/components/schemas/{method.input_type.rpartition('.')[2]}"}
                operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
            else:
                operation["parameters"] += _query(method.input_type, messages, comments, skip=variables)
            yield _VARIABLE.sub(_named_segments, template), verb, operation


def _named_segments(match: re.Match[str]) -> str:
    """A variable with each wildcard named on its own: "jobs/{job}" of "{name=jobs/*}".

    Under the variable's own name the routes of jobs, datasets and models would be one path.
    """
    names = iter(_segment_names(match))
    segments = (match[2] or "*").split("/")
    return "/".join(f"{{{next(names)}}}" if segment.startswith("*") else segment for segment in segments)


def _segment_names(match: re.Match[str]) -> list[str]:
    segments = (match[2] or "*").split("/")
    return [
        segments[place - 1].removesuffix("s") if place else match[1]
        for place, segment in enumerate(segments)
        if segment.startswith("*")
    ]


def _path_parameters(
    match: re.Match[str],
    method: MethodDescriptorProto,
    messages: dict[str, DescriptorProto],
    comments: dict[str, tuple[Comments, int]],
) -> list[Json]:
    told, place = comments[method.input_type]
    names = [field.name for field in messages[method.input_type].field]
    wildcards = [segment for segment in (match[2] or "*").split("/") if segment.startswith("*")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"Of `{match[1]}`: {told.at(MESSAGE, place, MEMBER, names.index(match[1]))}",
            "schema": {"type": "string", "pattern": "^.+$" if wildcard == "**" else "^[^/:]+$"},
        }
        for name, wildcard in zip(_segment_names(match), wildcards, strict=True)
    ]


def _query(
    type_name: str,
    messages: dict[str, DescriptorProto],
    comments: dict[str, tuple[Comments, int]],
    *,
    skip: list[str],
    prefix: str = "",
) -> list[Json]:
    found = []
    told, place = comments[type_name]
    for index, field in enumerate(messages[type_name].field):
        path = f"{prefix}{field.json_name}"
        if field.name in skip or _is_map(field):
            continue
        nested = field.type == _TYPE.TYPE_MESSAGE and field.type_name not in _WELL_KNOWN
        if nested and field.label != _TYPE.LABEL_REPEATED:
            found += _query(field.type_name, messages, comments, skip=[], prefix=f"{path}.")
        elif not nested:
            description = told.at(MESSAGE, place, MEMBER, index)
            found.append({"name": path, "in": "query", "description": description, "schema": _schema(field)})
    return found


def _responses(method: MethodDescriptorProto) -> Json:
    schema = {"$ref": f"#/components/schemas/{method.output_type.rpartition('.')[2]}"}
    content: Json = (
        {"text/event-stream": {"schema": schema}}
        if method.server_streaming
        else {"application/json": {"schema": schema}, "application/x-protobuf": {}}
    )
    return {
        "200": {"description": "OK", "content": content},
        "default": {"description": "What went wrong", "content": _TOLD_PROBLEM},
    }


def _message(message: DescriptorProto, comments: Comments, index: int) -> Json:
    properties, required = {}, []
    for place, field in enumerate(message.field):
        schema = _schema(field)
        description = comments.at(MESSAGE, index, MEMBER, place)
        properties[field.json_name] = (
            {**schema, "description": description}
            if "$ref" not in schema
            else {"allOf": [schema], "description": description}
        )
        if field.options.Extensions[rules_pb2.rules].required:
            required.append(field.json_name)
    found: Json = {"type": "object", "description": comments.at(MESSAGE, index), "properties": properties}
    return found | ({"required": required} if required else {})


def _enum(enum: EnumDescriptorProto, comments: Comments, index: int) -> Json:
    lines = [
        f"* {value.name}: {comments.at(ENUM, index, MEMBER, place)}" for place, value in enumerate(enum.value)
    ]
    description = "\n".join([comments.at(ENUM, index), "", *lines])
    return {"type": "string", "description": description, "enum": [value.name for value in enum.value]}


def _schema(field: FieldDescriptorProto) -> Json:
    if _is_map(field):
        return {"type": "object", "additionalProperties": True}
    single = _single(field) | _rules(field)
    if field.label != _TYPE.LABEL_REPEATED:
        return single
    rules = field.options.Extensions[rules_pb2.rules]
    limits: Json = {"maxItems": rules.max_items} if rules.HasField("max_items") else {}
    return {"type": "array", "items": _single(field)} | limits


def _single(field: FieldDescriptorProto) -> Json:
    if field.type in (_TYPE.TYPE_MESSAGE, _TYPE.TYPE_ENUM):
        known = _WELL_KNOWN.get(field.type_name)
        return (
            known
            if known is not None
            else {"$ref": f"#/components/schemas/{field.type_name.rpartition('.')[2]}"}
        )
    return dict(_SCALARS[field.type])


def _rules(field: FieldDescriptorProto) -> Json:
    """A field's bounds, and beside them what JSON Schema has no words for."""
    rules = field.options.Extensions[rules_pb2.rules]
    names = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
    numeric = field.type in (_TYPE.TYPE_DOUBLE, _TYPE.TYPE_FLOAT, _TYPE.TYPE_INT32, _TYPE.TYPE_UINT32)
    found: Json = {}
    for name, value in rules.ListFields():
        if name.name in names:
            found[names[name.name] if numeric else f"x-{names[name.name]}"] = value
        elif name.name == "max_len" and field.type == _TYPE.TYPE_STRING:
            found["maxLength"] = value
        elif name.name == "min_len" and field.type == _TYPE.TYPE_STRING:
            found["minLength"] = value
        elif name.name == "pattern":
            found["pattern"] = f"^{value}$"
        elif name.name in ("usual_min", "usual_max", "unit", "guide", "default_value"):
            found[f"x-{name.name.replace('_', '-')}"] = value
    return found


def _is_map(field: FieldDescriptorProto) -> bool:
    return field.type == _TYPE.TYPE_MESSAGE and field.type_name.endswith("Entry")
