"""Merges a finished job's LoRA into its base pipeline and proves the result: read from top to bottom.

Nothing is stored before it has passed its proof. It computes on the processor.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tuneyard.datasets.words import counted
from tuneyard.diffusion.base_source import FoundBase, find_base
from tuneyard.diffusion.finished import StoredLora, require_same
from tuneyard.diffusion.merge_card import merge_card
from tuneyard.diffusion.merge_config import MergeConfig
from tuneyard.diffusion.merge_proof import Proof, prove
from tuneyard.diffusion.merged_weights import Written, write_merged
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.trainer.errors import base_gone
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Result, Run

_MEDIA_TYPES = {".json": "application/json", ".md": "text/markdown", ".txt": "text/plain"}
_SCHEDULER = Path("scheduler") / "scheduler_config.json"


@dataclass
class Steps:
    """How far a merge is: a step for each file that is written, and for each pass of the proof."""

    run: Run
    total: int = 0
    done: int = 0

    def one(self) -> None:
        """Counts one more, and leaves where the job is to stop."""
        self.run.check_stop()
        self.done += 1
        self.run.progress(
            step=self.done,
            total_steps=max(self.total, self.done),
            epoch=0,
            total_epochs=0,
            unit="steps",
            count=1,
        )


def merge(config: MergeConfig, run: Run) -> Result:
    """Writes, proves and stores the merged pipeline. Raises RecipeError and Stopped."""
    torch.set_num_threads(run.cpu_threads)
    with run.stage("find_base", config.source.base_model):
        stored, base = find_both(config, run)
    steps = Steps(run, total=sum(1 for path in base.folder.rglob("*") if path.is_file()))
    folder = run.work_dir / "model"
    shutil.rmtree(folder, ignore_errors=True)
    with run.stage("merge"):
        written = write_merged(base.folder, stored.parts, folder, check=steps.one)
        write_prediction(config, folder)
        open_pipeline(folder)
    run.fault("prove")
    with run.stage("prove"):
        proof = prove(
            stored,
            config.source,
            base=base.folder,
            merged=folder,
            dtype=written.dtype,
            check=steps.one,
        )
    if proof.is_mostly_lost:
        run.warn(
            "adapter_mostly_lost",
            "The LoRA changes the base so little that rounding to the base's number format took more than"
            " half of its effect: use it beside its base.",
        )
    show(proof, run)

    run.finalizing()
    (folder / "README.md").write_text(merge_card(config, base.identity, proof=proof), encoding="utf-8")
    save(config, stored, base, written, run, proof=proof)
    found = proof.difference
    return Result(
        metrics={
            "merge/max_prediction_difference": found.max_prediction_difference,
            "merge/mean_prediction_difference": found.mean_prediction_difference,
            "merge/max_latent_difference": found.max_latent_difference,
            "merge/max_pixel_difference": found.max_pixel_difference,
        },
        step=0,
        summary=f"{counted(written.layers, 'layer')} of {base.identity.id} changed. {proof.summary}",
    )


def find_both(config: MergeConfig, run: Run) -> tuple[StoredLora, FoundBase]:
    """The LoRA and the very base that it was trained on. MODEL_NOT_FOUND, BASE_MODEL_UNAVAILABLE."""
    stored = StoredLora.read(run.source_artifacts())
    if not config.base_is_there:
        raise base_gone(config.source.base_model)
    base = find_base(config.source, run)
    require_same(stored, base)
    return stored, base


def write_prediction(config: MergeConfig, folder: Path) -> None:
    """Has the scheduler say what the network predicts now, where the training changed that."""
    if config.source.prediction_type == "auto":
        return
    path = folder / _SCHEDULER
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["prediction_type"] = config.source.prediction_type
    # The file may be a link to the base's.
    path.unlink()
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def show(proof: Proof, run: Run) -> None:
    """The pictures that were compared, as a sample."""
    path = run.work_dir / "proof.png"
    proof.pictures.save(path)
    run.sample_image(path, title="Base, base with LoRA, merged", step=0, name="samples/proof.png")


def save(
    config: MergeConfig, stored: StoredLora, base: FoundBase, written: Written, run: Run, *, proof: Proof
) -> None:
    """Hands over every file; the manifest last."""
    files = sorted(path for path in written.folder.rglob("*") if path.is_file())
    for path in files:
        run.check_stop()
        run.save_artifact(
            path,
            name=f"model/{path.relative_to(written.folder).as_posix()}",
            kind=ArtifactKind.MODEL,
            media_type=_MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
            description="Weights, as diffusers loads them" if path.suffix == ".safetensors" else "",
        )
    manifest = run.manifest(
        source_job=config.source_job,
        output_path=config.output_path,
        method="merged",
        base=asdict(base.identity),
        held_out=stored.manifest.get("held_out", ""),
        trigger_words=list(config.source.trigger_words),
        stored_dtype=written.dtype,
        merged_layers=written.layers,
        model_bytes=sum(path.stat().st_size for path in files),
        proof=proof.facts,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, source, base model, and the comparison with base and LoRA",
    )
