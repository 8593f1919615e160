"""Which field protobuf's JSON parser is unhappy with, and why: its own words say both, but in a nest."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.json_format import ParseError

_NEST: Final = re.compile(r"Failed to parse (\w+) field: ")
_PLACE: Final = re.compile(r" at \w+\.([\w.]+)(?:\[.*\])?$")
_UNKNOWN: Final = re.compile(
    r'Message type "[\w.]+" has no field named "(.*)" at "\w+\.?([\w.]*)"', re.DOTALL
)
# Python's own words, which protobuf passes on.
_PLAIN: Final = (
    (re.compile(r"invalid literal for int\(\) with base 10: (.*)"), r"\1 is no whole number"),
    (re.compile(r"int\(\) argument must be .* not '(list|dict)'"), "must be a whole number"),
    (re.compile(r"'\w+' object is not iterable"), "must be an object"),
    (re.compile(r"expected string or bytes-like object, got .*"), "must be a text"),
)


def fault(error: ParseError, values: Mapping[str, Any]) -> tuple[str, str]:
    """The path of the field, as `values` spell it, and what is wrong with it; "" for `values` as a whole."""
    core, names = str(error), []
    while nest := _NEST.match(core):
        names.append(nest[1])
        core = core[nest.end() :]
    if unknown := _UNKNOWN.match(core):
        return ".".join(filter(None, (unknown[2], unknown[1]))), "there is no such field"
    core = core.rstrip(".\n")
    path = _path(values, names)
    if place := _PLACE.search(core):
        core = core[: place.start()]
        path = max(path, place[1].split("."), key=len)
    for pattern, words in _PLAIN:
        core = pattern.sub(words, core)
    return ".".join(path), core


def _path(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The path that names of fields stand for: protobuf leaves out some messages on the way."""
    if not names:
        return []
    if names[0] in values:
        inner = values[names[0]]
        return [names[0], *(_path(inner, names[1:]) if isinstance(inner, Mapping) else names[1:])]
    for key, inner in values.items():
        if isinstance(inner, Mapping) and (found := _path(inner, names)):
            return [key, *found]
    return []
