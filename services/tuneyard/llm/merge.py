"""Merges a finished job's adapter into its base and proves the result: read from top to bottom.

The base is the unquantised one, also of a QLoRA adapter (see docs/merge-and-export.md). Weights go through
memory tensor by tensor; nothing is stored before it has passed its proof. It computes on the processor.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tuneyard.datasets.words import counted
from tuneyard.llm import meta_facts
from tuneyard.llm.base_source import FoundBase, find_base
from tuneyard.llm.finished import StoredModel
from tuneyard.llm.folder_files import (
    CONFIG,
    GENERATION,
    SETTINGS,
    TEMPLATE,
    TOKENIZER,
    TOKENIZER_FILES,
    media_type,
)
from tuneyard.llm.merge_as_trained import against_quantized
from tuneyard.llm.merge_card import merge_card
from tuneyard.llm.merge_config import MergeConfig
from tuneyard.llm.merge_proof import Proof, prove
from tuneyard.llm.merge_rows import proof_rows
from tuneyard.llm.shards import DTYPES, PlannedTensor, write_shards
from tuneyard.llm.stored_adapter import read_adapter
from tuneyard.llm.stored_names import stored_names
from tuneyard.llm.streamed_model import TensorFiles
from tuneyard.llm.templates import chat_template
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.trainer.base_identity import BaseIdentity
from tuneyard.trainer.errors import RecipeError, base_gone
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.linking import link_or_copy
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.run import ArtifactKind, Result, Run
from tuneyard.trainer.safe_json import read_json

_PROOF_PASSES = 3
"""Base and adapter, the base alone, the merged model."""
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""What transformers takes from config.json where there is no generation config."""


@dataclass
class Steps:
    """How far a merge is: a step for each tensor that is written, and for each that a proof reads."""

    run: Run
    total: int = 0
    done: int = 0

    def one(self) -> None:
        """Counts one more, and leaves where the job is to stop."""
        self.run.check_stop()
        self.done = min(self.done + 1, self.total)
        self.run.progress(
            step=self.done, total_steps=self.total, epoch=0, total_epochs=0, unit="tensors", count=1
        )


@dataclass(frozen=True)
class Merged:
    """A written model."""

    folder: Path
    dtype: str
    """Of most of its bytes, as safetensors names it."""
    size_bytes: int
    layers: int
    """How many of its weights the adapter changed."""


def merge(config: MergeConfig, run: Run) -> Result:
    """Writes, proves and stores the merged model. Raises RecipeError and Stopped."""
    torch.set_num_threads(run.cpu_threads)
    with run.stage("find_base", config.source.base_model):
        source, base = find_both(config, run)
        stay_offline()
    steps = Steps(run)
    with run.stage("merge"):
        merged = write_merged(source.folder, base.folder, run, steps)
    with run.stage("write_files"):
        template = write_files(source, base.folder, merged.folder)
    run.fault("prove")
    with run.stage("prove"):
        proof, facts = proved(config, source, base, merged, steps)

    run.finalizing()
    card = merge_card(config, base.identity, method=config.source.method, proof=proof)
    (merged.folder / "README.md").write_text(card, encoding="utf-8")
    save(config, source, base, merged, run, template=template, proof=facts)
    metrics = (
        {
            "merge/max_logit_difference": proof.difference.max_logit_difference,
            "merge/mean_logit_difference": proof.difference.mean_logit_difference,
            "merge/top1_agreement": proof.difference.top1_agreement,
        }
        if proof
        else {}
    )
    told = proof.summary if proof else facts["skipped"]
    return Result(
        metrics=metrics,
        step=0,
        summary=f"{counted(merged.layers, 'layer')} of {base.identity.id} changed. {told}",
    )


def find_both(config: MergeConfig, run: Run) -> tuple[StoredModel, FoundBase]:
    """The adapter and the very base that it was trained on. MODEL_NOT_FOUND, BASE_MODEL_UNAVAILABLE."""
    source = StoredModel.read(run.source_artifacts())
    if not source.is_adapter:
        raise RecipeError(
            "The source job trained the whole model: there is no adapter.", reason="NOT_SUPPORTED"
        )
    if not config.base_is_there:
        raise base_gone(config.source.base_model)
    base = find_base(config.source, run)
    trained_on = BaseIdentity(**(source.manifest.get("base") or {"id": config.source.base_model}))
    require_same(trained_on, base.identity)
    return source, base


def require_same(trained_on: BaseIdentity, found: BaseIdentity) -> None:
    """Raises RecipeError BASE_MODEL_UNAVAILABLE unless the bases are one."""
    if not found.has_weights_of(trained_on):
        raise RecipeError(
            f"The adapter was trained on {trained_on}, and the base is now {found}: merged into other weights"
            " it would be another model.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=(f"Import the base that it was trained on again, as {trained_on.id}.",),
        )


def write_merged(adapter_folder: Path, base: Path, run: Run, steps: Steps) -> Merged:
    """Writes the weights, each read, changed and written before the next; and the index, where sharded."""
    adapter = read_adapter(adapter_folder)
    files = TensorFiles(base)
    names = stored_names(meta_facts.fit(base).model, files.index)
    if unknown := [module for module in adapter.layers if f"{module}.weight" not in names]:
        raise RecipeError(
            f"The adapter changes {unknown[0]}, which is no tensor of the base's files: it cannot be merged.",
            reason="NOT_SUPPORTED",
        )
    changed = {names[f"{module}.weight"]: module for module in adapter.layers}

    def value_of(name: str) -> torch.Tensor:
        steps.one()
        run.fault(f"tensor={steps.done}")
        value = files.read(name)
        return adapter.merged(changed[name], value) if name in changed else value

    folder = run.work_dir / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    planned = [
        PlannedTensor(tensor.name, DTYPES[tensor.dtype], tensor.shape)
        for tensor in files.index.tensors.values()
    ]
    steps.total = (1 + _PROOF_PASSES) * len(planned)
    write_shards(folder, planned, value_of)
    return Merged(folder, files.index.dtype, files.index.size_bytes, len(changed))


def write_files(source: StoredModel, base: Path, folder: Path) -> str:
    """Puts everything beside the weights there; returns the chat template's name.

    The tokenizer is the adapter's, which is the base's; a template that the training chose goes along.
    """
    tokenizers = source.folder if (source.folder / TOKENIZER).is_file() else base
    wanted = [*(base / name for name in SETTINGS), *(tokenizers / name for name in TOKENIZER_FILES)]
    for path in wanted:
        if path.is_file():
            link_or_copy(path, folder / path.name)
    template = str(source.manifest.get("template", ""))
    tokenizer = load_tokenizer(folder)
    if not template:
        return template
    chosen = chat_template(tokenizer, "" if template == "tokenizer" else template)
    if not tokenizer.chat_template:
        (folder / TEMPLATE).write_text(chosen.portable_source, encoding="utf-8")
    if (end := tokenizer.get_vocab().get(chosen.end_token)) is not None:
        end_answers_with(folder, end)
    return template


def end_answers_with(folder: Path, token: int) -> None:
    """Has programs end answers at the chat template's token too, which the base may not know as an end."""
    path, config = folder / GENERATION, read_json(folder / CONFIG)
    derived = {name: config[name] for name in _SPECIAL_TOKENS if config.get(name) is not None}
    settings = read_json(path) if path.is_file() else derived
    given = settings.get("eos_token_id")
    known = [] if given is None else given if isinstance(given, list) else [given]
    if token not in known:
        # It is the base's own file, by another name.
        path.unlink(missing_ok=True)
        changed = settings | {"eos_token_id": [*known, token]}
        path.write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")


def proved(
    config: MergeConfig, source: StoredModel, base: FoundBase, merged: Merged, steps: Steps
) -> tuple[Proof | None, dict[str, Any]]:
    """The proof and what the manifest says of it; None, with the reason, where there can be none."""
    run = steps.run
    fit = meta_facts.fit(merged.folder)
    if told := str(fit):
        raise RecipeError(f"The merged weights do not fit config.json: {told}.", reason="RECIPE_FAILED")
    embeddings: Any = fit.model.get_input_embeddings()
    rows = proof_rows(
        config,
        run,
        load_tokenizer(merged.folder),
        vocabulary=embeddings.weight.shape[0],
        template=str(source.manifest.get("template", "tokenizer")),
    )
    try:
        proof = prove(
            base=base.folder,
            adapter=source.folder,
            merged=merged.folder,
            rows=rows,
            dtype=merged.dtype,
            check=steps.one,
        )
    except RecipeError as error:
        if error.reason != "NOT_SUPPORTED":
            raise
        told = f"The merged model was not compared with base and adapter: {error.message}"
        run.warn("merge_not_proved", told)
        return None, {"skipped": told}
    if proof.is_mostly_lost:
        run.warn(
            "adapter_mostly_lost",
            "The adapter changes the base so little that rounding to the base's number format took more than"
            f" half of its effect: it moves logits by {proof.effect.mean_logit_difference:.1e} on average, "
            f"rounding by {proof.difference.mean_logit_difference:.1e}. Use it beside its base.",
        )
    facts = proof.facts
    if config.source.method == "qlora":
        facts["against_quantized_base"] = against_quantized(config, source, base, run, proof=proof, rows=rows)
    return proof, facts


def save(
    config: MergeConfig,
    source: StoredModel,
    base: FoundBase,
    merged: Merged,
    run: Run,
    *,
    template: str,
    proof: dict[str, Any],
) -> None:
    """Hands over every file; the manifest last."""
    for path in sorted(merged.folder.iterdir()):
        run.check_stop()
        run.save_artifact(
            path,
            name=f"model/{path.name}",
            kind=ArtifactKind.MODEL,
            media_type=media_type(path),
            description="Weights, as transformers loads them" if path.suffix == ".safetensors" else "",
        )
    manifest = run.manifest(
        source_job=config.source_job,
        output_path=config.output_path,
        method="merged",
        trained_method=config.source.method,
        base=asdict(base.identity),
        template=template,
        held_out=source.manifest.get("held_out", ""),
        stored_dtype=merged.dtype,
        merged_layers=merged.layers,
        model_bytes=merged.size_bytes,
        proof=proof,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, source, base model, and the comparison with base and adapter",
    )
