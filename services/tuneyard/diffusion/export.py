"""Hands out a finished job's LoRA weights in one format: that of diffusers, or that of kohya's scripts.

Nothing is computed: both were written when the training ended.
"""

from dataclasses import asdict
from pathlib import Path

from tuneyard.datasets.words import counted
from tuneyard.diffusion.export_config import ExportConfig
from tuneyard.diffusion.finished import StoredLora
from tuneyard.diffusion.lora_files import WEIGHTS_NAME
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Result, Run

_CARD = "README.md"
_LOADED_BY = {"diffusers": "diffusers loads them", "kohya": "ComfyUI, A1111 and kohya's scripts load them"}


def export(config: ExportConfig, run: Run) -> Result:
    """Stores the file and the card. Raises RecipeError and Stopped."""
    with run.stage("load_model"):
        artifacts = run.source_artifacts()
        stored = StoredLora.read(artifacts)
        path, name = weights_file(stored, config)

    run.finalizing()
    run.save_artifact(
        path,
        name=name,
        kind=ArtifactKind.ADAPTER,
        media_type="application/octet-stream",
        description=f"The LoRA, as {_LOADED_BY[config.format]}",
    )
    if (artifacts / _CARD).is_file():
        run.save_artifact(
            artifacts / _CARD,
            name=_CARD,
            kind=ArtifactKind.ADAPTER,
            media_type="text/markdown",
            description="What it is, how it does, and how to load it",
        )
    size_bytes, tensors = path.stat().st_size, sum(len(part.weights) for part in stored.parts.values())
    manifest = run.manifest(
        source_job=config.source_job,
        format=config.format,
        base=asdict(stored.trained_on) if stored.trained_on else None,
        parts=sorted(stored.parts),
        tensors=tensors,
        size_bytes=size_bytes,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, source and base model",
    )
    return Result(
        metrics={"export/size_bytes": float(size_bytes)},
        step=0,
        summary=f"LoRA weights as {_LOADED_BY[config.format]}:"
        f" {counted(tensors, 'tensor')}, {size_bytes / 1e6:.1f} MB.",
    )


def weights_file(stored: StoredLora, config: ExportConfig) -> tuple[Path, str]:
    """The file to hand out, and the name that it has as an artifact. Raises RecipeError NOT_SUPPORTED."""
    name = WEIGHTS_NAME if config.format == "diffusers" else str(stored.manifest.get("kohya", ""))
    path = stored.folder / name
    if not path.is_file():
        raise RecipeError(
            f"The job left no weights as {_LOADED_BY[config.format]}.",
            reason="NOT_SUPPORTED",
            remedies=("Export to the other format.",),
        )
    return path, name
