"""The model card beside a merged pipeline: what it is made of, how it was proved, how it is loaded."""

from tuneyard.diffusion.merge_config import MergeConfig
from tuneyard.diffusion.merge_proof import Proof
from tuneyard.trainer.base_identity import BaseIdentity

_LOADING = """\
```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("FOLDER")
pipeline("PROMPT").images[0].save("picture.png")
```
"""


def merge_card(config: MergeConfig, base: BaseIdentity, *, proof: Proof) -> str:
    """The text of README.md; its head is what hubs read."""
    revision = f" at revision {base.revision}" if base.revision else ""
    words = ", ".join(f"`{word}`" for word in config.source.trigger_words)
    parts = [
        f"---\nbase_model: {base.id}\nlibrary_name: diffusers\npipeline_tag: text-to-image\n---",
        f"# {base.id.rpartition('/')[2]} with a LoRA merged in",
        f"A copy of {base.id}{revision} with LoRA weights added to its own. They were trained by"
        f" {config.source_job}.",
        f"These words call what was trained: {words}." if words else "",
        f"The base's files have the SHA-256 `{base.sha256}`." if base.sha256 else "",
        f"## How it was proved\n\n{proof.summary} Both were computed in float32.",
        f"## How it is loaded\n\n{_LOADING}",
    ]
    return "\n\n".join(part for part in parts if part)
