"""Checks a message against the rules that its proto declares, and warns where values are unusual.

Rules that relate several fields, or that depend on what is stored, are not here.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tuneyard.rpc.errors import Violation, invalid_fields
from tuneyard.v1 import rules_pb2

_Check: TypeAlias = Callable[[Any], str | None]
"""Takes one value and says what is wrong with it, or None."""

_Rules: TypeAlias = dict[str, Any]
"""The rules that a field declares, by name."""

_NUL: Final = "must not contain the character NUL"
_FLOATS: Final = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def validate(message: Message, *, prefix: str = "") -> list[Violation]:
    """Everything in the message that breaks its declared rules, with full paths below `prefix`.

    A field that tracks presence and is not set is checked for nothing but `required`.
    """
    return list(_violations(message, f"{prefix}." if prefix else ""))


def check(message: Message) -> None:
    """Raise INVALID_FIELD with every violation, if there are any."""
    if violations := validate(message):
        raise invalid_fields(violations)


def usual_range_warnings(message: Message, *, prefix: str = "") -> list[Violation]:
    """Every set number that lies outside its usual range: allowed, but worth a word."""
    return list(_warnings(message, f"{prefix}." if prefix else ""))


@dataclass(frozen=True)
class _FieldPlan:
    """What is to be checked about one field, worked out once for each message type."""

    name: str
    required: bool
    has_presence: bool
    repeated: bool
    is_map: bool
    nested: bool
    size_check: _Check | None
    """About a list or map as a whole."""
    value_checks: tuple[_Check, ...]
    """About the value, each element of a list, or each value of a map."""
    usual: _Check | None


@cache
def _plan(descriptor: Descriptor) -> tuple[_FieldPlan, ...]:
    return tuple(_field_plan(field) for field in descriptor.fields)


def _field_plan(field: FieldDescriptor) -> _FieldPlan:
    declared: rules_pb2.FieldRules = field.GetOptions().Extensions[rules_pb2.rules]
    rules: _Rules = {rule.name: value for rule, value in declared.ListFields()}
    entry = field.message_type
    is_map = entry is not None and bool(entry.GetOptions().map_entry)
    value = entry.fields_by_name["value"] if entry is not None and is_map else field
    return _FieldPlan(
        name=field.name,
        required=declared.required,
        has_presence=field.has_presence,
        repeated=field.is_repeated,
        is_map=is_map,
        nested=value.message_type is not None,
        size_check=_size_check(rules),
        value_checks=tuple(_value_checks(value, rules)),
        usual=_usual_check(rules),
    )


def _value_checks(field: FieldDescriptor, rules: _Rules) -> Iterator[_Check]:
    if field.type in _FLOATS:
        yield lambda value: None if math.isfinite(value) else "must be a finite number"
    if field.type == FieldDescriptor.TYPE_STRING:
        # PostgreSQL stores no text with one, and no setting of ours has a use for it.
        yield lambda value: _NUL if "\0" in value else None
    if field.enum_type is not None:
        known = field.enum_type.values_by_number
        yield lambda value: None if value in known else f"{value} is not a value that this release knows"
    if field.message_type is not None and field.message_type.file.package == "google.protobuf":
        yield _well_known
    if rules.keys() & {"gt", "gte", "lt", "lte"}:
        yield _bounds_check(rules)
    if rules.keys() & {"min_len", "max_len"}:
        yield _length_check(rules)
    if "pattern" in rules:
        text = rules["pattern"]
        pattern = re.compile(text)
        yield lambda value: None if not value or pattern.fullmatch(value) else f"must match {text}"


def _bounds_check(rules: _Rules) -> _Check:
    words = {"gt": "greater than", "gte": "at least", "lt": "less than", "lte": "at most"}
    bounds = " and ".join(f"{text} {rules[rule]:g}" for rule, text in words.items() if rule in rules)
    above, below = rules.get("gt", -math.inf), rules.get("lt", math.inf)
    least, most = rules.get("gte", -math.inf), rules.get("lte", math.inf)

    def outside(value: float) -> str | None:
        # NaN compares false with everything and so falls outside.
        is_inside = above < value < below and least <= value <= most
        return None if is_inside else f"must be {bounds}; it is {value:g}"

    return outside


def _length_check(rules: _Rules) -> _Check:
    least, most = rules.get("min_len", 0), rules.get("max_len", math.inf)

    def outside(value: str | bytes) -> str | None:
        unit = "bytes" if isinstance(value, bytes) else "characters"
        if len(value) < least:
            return f"must have at least {least} {unit}; it has {len(value)}"
        return f"must have at most {most} {unit}; it has {len(value)}" if len(value) > most else None

    return outside


def _size_check(rules: _Rules) -> _Check | None:
    if not rules.keys() & {"min_items", "max_items"}:
        return None
    least, most = rules.get("min_items", 0), rules.get("max_items", math.inf)

    def outside(items: Any) -> str | None:
        if len(items) < least:
            return f"must have at least {least} entries; it has {len(items)}"
        return f"must have at most {most} entries; it has {len(items)}" if len(items) > most else None

    return outside


def _usual_check(rules: _Rules) -> _Check | None:
    if not rules.keys() & {"usual_min", "usual_max"}:
        return None
    low, high = rules.get("usual_min", -math.inf), rules.get("usual_max", math.inf)
    unit = f" {rules['unit']}" if "unit" in rules else ""

    def unusual(value: float) -> str | None:
        if value < low:
            return f"{value:g}{unit} is below the usual {low:g}"
        return f"{value:g}{unit} is above the usual {high:g}" if value > high else None

    return unusual


def _well_known(value: Any) -> str | None:
    try:
        value.ToJsonString()
    except ValueError:
        return "is not a valid time or duration"
    except AttributeError:
        pass
    return None


def _values(message: Message, field: _FieldPlan) -> Iterator[tuple[str, Any]]:
    """Each value of a set field with what its path adds to the message's."""
    value = getattr(message, field.name)
    if field.is_map:
        yield from ((f'{field.name}["{key}"]', value[key]) for key in value)
    elif field.repeated:
        yield from ((f"{field.name}[{index}]", item) for index, item in enumerate(value))
    else:
        yield field.name, value


def _is_unset(message: Message, field: _FieldPlan) -> bool:
    if field.has_presence:
        return not message.HasField(field.name)
    return field.required and not getattr(message, field.name)


def _violations(message: Message, prefix: str) -> Iterator[Violation]:
    for field in _plan(message.DESCRIPTOR):
        if _is_unset(message, field):
            if field.required:
                yield Violation(prefix + field.name, "is required")
            continue
        if field.size_check and (problem := field.size_check(getattr(message, field.name))):
            yield Violation(prefix + field.name, problem)
        if field.is_map and any("\0" in str(key) for key in getattr(message, field.name)):
            yield Violation(prefix + field.name, _NUL)
            continue
        if not field.value_checks and not field.nested:
            continue
        for path, value in _values(message, field):
            problems = (found for test in field.value_checks if (found := test(value)))
            if problem := next(problems, None):
                yield Violation(prefix + path, problem)
            elif field.nested:
                yield from _violations(value, f"{prefix}{path}.")


def _warnings(message: Message, prefix: str) -> Iterator[Violation]:
    for field in _plan(message.DESCRIPTOR):
        if _is_unset(message, field) or not (field.usual or field.nested):
            continue
        for path, value in _values(message, field):
            if field.nested:
                yield from _warnings(value, f"{prefix}{path}.")
            elif field.usual and (unusual := field.usual(value)):
                yield Violation(prefix + path, unusual)
