"""The JSON files beside a stranger's weights: read within bounds, and refused where they ask for code.

What else a family wants of them it checks itself.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuneyard.trainer.errors import Reason, RecipeError

_CODE_KEYS = frozenset(
    {"auto_map", "trust_remote_code", "custom_generate", "custom_pipelines", "_attn_implementation_internal"}
)
_LIBRARY_IMPLEMENTATIONS = frozenset({"eager", "sdpa", "flash_attention_2", "flex_attention"})
"""Any other name of an implementation may be that of a repository, whose code would be fetched and run."""
_MAX_JSON_BYTES = 16 << 20


def refuse_code(config: Mapping[str, Any], file: str) -> None:
    """Raises RecipeError NOT_SUPPORTED where a JSON file wants code that comes with a model."""
    for key, value in _entries(config):
        if key in _CODE_KEYS and value:
            raise refused(
                f"The base model asks for remote code ({file}: {key}), which is never run here.",
                "Choose a model that transformers supports by itself. Where it does support this one, delete"
                f" {key} from {file} in a copy of the folder and import that.",
            )
        if key.endswith("_implementation") and value and str(value) not in _LIBRARY_IMPLEMENTATIONS:
            raise refused(
                f"The base model asks for a foreign implementation ({file}: {key}), which is never loaded.",
                f"Delete {key} from {file} in a copy of the folder and import that.",
            )
        if key == "transformers_weights" and value and Path(str(value)).name != value:
            raise refused(
                f"The base model's weights lie outside of its folder ({file}: {key}).",
                f"Delete {key} from {file} in a copy of the folder and import that.",
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises RecipeError BASE_MODEL_UNAVAILABLE for anything else."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("too long")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(value, dict):
        raise _unreadable(path)
    return value


def refused(message: str, remedy: str, *, reason: Reason = "NOT_SUPPORTED") -> RecipeError:
    """The error of a base model that cannot be used."""
    return RecipeError(message, reason=reason, remedies=(remedy,))


def _unreadable(path: Path) -> RecipeError:
    return refused(
        f"The base model's {path.name} is not a JSON object.",
        "Import the folder again, as it was published.",
        reason="BASE_MODEL_UNAVAILABLE",
    )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of an object and of all objects within it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)
