"""Hands out what a finished job stored, as files of one kind: the adapter, or the whole model.

Nothing is computed: both are in the formats that peft and transformers load, and were proved when they were
made. The download of a job's folder is a ZIP.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from tuneyard.datasets.words import counted
from tuneyard.llm.export_config import ExportConfig
from tuneyard.llm.finished import StoredModel
from tuneyard.llm.folder_files import media_type
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Result, Run


def export(config: ExportConfig, run: Run) -> Result:
    """Stores the files below "adapter/" or "model/". Raises RecipeError and Stopped."""
    with run.stage("load_model"):
        artifacts = run.source_artifacts()
        stored = StoredModel.read(artifacts)
        if stored.is_adapter != (config.format == "adapter"):
            raise _other_kind(stored)
        files = sorted(path for path in stored.folder.rglob("*") if path.is_file())
        tensors = sum(_tensors(path) for path in files if path.suffix == ".safetensors")

    run.finalizing()
    folder, kind = ("adapter", ArtifactKind.ADAPTER) if stored.is_adapter else ("model", ArtifactKind.MODEL)
    for path in files:
        run.check_stop()
        run.save_artifact(
            path,
            name=f"{folder}/{path.relative_to(stored.folder).as_posix()}",
            kind=kind,
            media_type=media_type(path),
        )
    size_bytes = sum(path.stat().st_size for path in files)
    manifest = run.manifest(
        source_job=config.source_job,
        format=config.format,
        base=stored.manifest.get("base"),
        template=stored.manifest.get("template", ""),
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
    what = "The adapter, as peft loads it" if stored.is_adapter else "The model, as transformers loads it"
    return Result(
        metrics={"export/size_bytes": float(size_bytes)},
        step=0,
        summary=f"{what}: {counted(len(files), 'file')}, {size_bytes / 1e6:.1f} MB.",
    )


def _other_kind(stored: StoredModel) -> RecipeError:
    if stored.is_adapter:
        return RecipeError(
            "The job trained an adapter, which is no whole model.",
            reason="NOT_SUPPORTED",
            remedies=("Merge it into its base (`tuneyard merge`), or export it as an adapter.",),
        )
    return RecipeError(
        "The job trained all of the model's weights: there is no adapter.",
        reason="NOT_SUPPORTED",
        remedies=("Export it as safetensors.",),
    )


def _tensors(path: Path) -> int:
    """How many tensors a file holds; RecipeError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return len(list(file.keys()))
    except (SafetensorError, OSError) as error:
        raise RecipeError(f"{path.name} cannot be read.", reason="MODEL_NOT_FOUND") from error
