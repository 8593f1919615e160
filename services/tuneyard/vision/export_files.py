"""Hands over the files of an export, and the manifest that tells how they were proved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run
from tuneyard.vision.export_check import Check
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.stored_classifier import CONFIG


@dataclass(frozen=True)
class Converted:
    """A model in its new format, on disk and proved."""

    files: tuple[Path, ...]
    check: Check
    facts: Mapping[str, Any]
    """What else the manifest tells of the format."""


def save(
    config: ExportConfig, converted: Converted, run: Run, *, name: str, model: Mapping[str, Any]
) -> None:
    """Hands over every file, the work folder's config.json among them; the manifest last."""
    for path in converted.files:
        run.save_artifact(
            path,
            name=path.name,
            kind=ArtifactKind.MODEL,
            media_type="application/octet-stream",
            description=name,
        )
    run.save_artifact(
        run.work_dir / CONFIG,
        name=CONFIG,
        kind=ArtifactKind.MODEL,
        media_type="application/json",
        description="Architecture, classes and preprocessing",
    )
    manifest = run.manifest(
        source_job=config.source_job,
        format=config.format,
        model=dict(model),
        check=converted.check.facts,
        **converted.facts,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, source, format and the comparison with the original",
    )
