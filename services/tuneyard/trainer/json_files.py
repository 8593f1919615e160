"""JSON files that a recipe writes for people and programs to read, and those of them that are artifacts."""

import json
import math
from pathlib import Path
from typing import Any

from tuneyard.trainer.run import ArtifactKind, Run


def write_json(path: Path, value: Any) -> Path:
    """Writes JSON for people to read, and returns the path."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def save_json(run: Run, name: str, value: Any, *, kind: ArtifactKind, description: str) -> None:
    """Writes JSON into the run's folder and hands it over as an artifact of that name."""
    path = write_json(run.work_dir / name, value)
    run.save_artifact(path, name=name, kind=kind, media_type="application/json", description=description)


def finite(value: float) -> float | None:
    """The value as JSON has it, which knows no infinity: None, its null, for what is not finite."""
    return value if math.isfinite(value) else None
