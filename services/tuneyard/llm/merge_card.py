"""The model card beside a merged model: what it is made of, how it was proved, how it is loaded."""

from tuneyard.llm.merge_config import MergeConfig
from tuneyard.llm.merge_proof import Proof
from tuneyard.trainer.base_identity import BaseIdentity

_LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")
```
"""


def merge_card(config: MergeConfig, base: BaseIdentity, *, method: str, proof: Proof | None) -> str:
    """The text of README.md; its head is what hubs read."""
    revision = f" at revision {base.revision}" if base.revision else ""
    trained = f"It was fine-tuned by {config.source_job} ({'QLoRA' if method == 'qlora' else 'LoRA'})."
    into = " The adapter was merged into the original weights, not into the quantised ones." * (
        method == "qlora"
    )
    parts = [
        f"---\nbase_model: {base.id}\nlibrary_name: transformers\npipeline_tag: text-generation\n---",
        f"# {base.id.rpartition('/')[2]}, fine-tuned and merged",
        f"A copy of {base.id}{revision} with an adapter merged into its weights. {trained}{into}",
        f"The base's files have the SHA-256 `{base.sha256}`." if base.sha256 else "",
        f"## How it was proved\n\n{proof.summary} Both were computed in float32." if proof else "",
        f"## How it is loaded\n\n{_LOADING}",
    ]
    return "\n\n".join(part for part in parts if part)
