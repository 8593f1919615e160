"""The facts of a manifest that do not come from the request: packages, interpreter, machine."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

PACKAGES = (
    "tuneyard",
    "torch",
    "torchvision",
    "ultralytics",
    "transformers",
    "diffusers",
    "peft",
    "trl",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "safetensors",
    "numpy",
    "pillow",
)
"""Distributions whose versions can change a result."""


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of those that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, Any]:
    """What of the machine can change a result; nothing that identifies it."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu_count": os.cpu_count(),
    }
