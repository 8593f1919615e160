"""Which files of a pipeline's folder matter, and what they are called where it is stored: by name alone, for
imports and for fetching from a hub.
"""

import re
from collections.abc import Collection, Mapping

from tuneyard.diffusion.safe_pipeline import INDEX, PipelineIndex

SCHEDULER_CONFIG = "scheduler/scheduler_config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
_STEMS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call a file with weights."""
_VARIANT = "fp16"
"""Taken only where there are no full weights, as `from_pretrained` does."""


def pipeline_files(there: Collection[str], index: PipelineIndex) -> dict[str, str]:
    """For each file that is wanted its name in the stored folder; both with forward slashes, and without the
    index itself. Parts without weights are left to who checks them.
    """
    wanted: dict[str, str] = {}
    for part in index.parts:
        if part == "scheduler":
            names = [SCHEDULER_CONFIG]
        elif part.startswith("tokenizer"):
            names = [f"{part}/{name}" for name in _TOKENIZER_FILES]
        else:
            names = [f"{part}/config.json"]
            wanted |= _weights(there, part)
        wanted |= {name: name for name in names if name in there}
    return wanted


def checkpoint_files(there: Collection[str]) -> list[str]:
    """The checkpoints at the top of a folder: safetensors that hold a whole model in one file."""
    return sorted(name for name in there if "/" not in name and name.endswith(".safetensors"))


def config_files(there: Collection[str], index: PipelineIndex) -> list[str]:
    """What is wanted of a pipeline whose weights come from elsewhere."""
    files = pipeline_files(there, index)
    return [INDEX, *(name for name in files if not name.endswith((".safetensors", ".index.json")))]


def _weights(there: Collection[str], part: str) -> Mapping[str, str]:
    for variant in ("", f".{_VARIANT}"):
        for stem in _STEMS:
            single = f"{part}/{stem}{variant}.safetensors"
            if single in there:
                return {single: f"{part}/{stem}.safetensors"}
            index = f"{part}/{stem}.safetensors.index{variant}.json"
            # Older and newer releases put the variant's name before and behind the number.
            shard = re.compile(rf"{part}/{stem}(\.{_VARIANT})?-\d+-of-\d+(\.{_VARIANT})?\.safetensors")
            if index in there:
                shards = {
                    name: name
                    for name in there
                    if (found := shard.fullmatch(name)) and any(found.groups()) == bool(variant)
                }
                return {index: f"{part}/{stem}.safetensors.index.json", **shards}
    return {}
