"""The OpenAPI document of /v1, which `make protos` writes from the protos."""

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def document() -> dict[str, Any]:
    """The document; not to be changed."""
    text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
