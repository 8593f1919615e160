"""Measures a merged QLoRA model against what was trained: the adapter on the quantised base, as it was then.

For information: merging goes into the original weights, which the quantised ones only stood for.
"""

from dataclasses import asdict
from typing import Any

import torch

from tuneyard.llm.base_source import FoundBase
from tuneyard.llm.finished import StoredModel, load_finished
from tuneyard.llm.merge_config import MergeConfig
from tuneyard.llm.merge_proof import Proof, compare, logits
from tuneyard.llm.merge_rows import ProofRows
from tuneyard.llm.weights_index import read_index
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run

_QUANTIZED_SHARE = 0.6
"""Of the stored bytes, with the embeddings that stay as they are, and what loading needs."""


def against_quantized(
    config: MergeConfig, source: StoredModel, base: FoundBase, run: Run, *, proof: Proof, rows: ProofRows
) -> dict[str, Any]:
    """The differences for the manifest, or why they were not measured."""
    needed = int(_QUANTIZED_SHARE * read_index(base.folder).size_bytes)
    if needed > _available_bytes():
        return {"skipped": f"it needs about {needed / 1e9:.0f} GB of memory, which are not free"}
    try:
        trained = load_finished(
            source, config.source, lambda: base.folder, device=torch.device("cpu"), as_trained=True
        )
    except (RecipeError, ImportError, RuntimeError) as error:
        return {"skipped": f"the quantised base cannot be loaded here ({type(error).__name__})"}
    run.check_stop()
    with trained.computing():
        expected = logits(trained.model, rows)
    return asdict(compare(proof.merged_logits, expected))


def _available_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    return found.get("MemAvailable", 0)
