"""Which files of a language model's folder matter: by name alone, for imports, hubs and artifacts."""

import re
from collections.abc import Collection
from pathlib import PurePath

from tuneyard.llm.weights_index import INDEX, SINGLE

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
SETTINGS = (CONFIG, GENERATION)
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    TEMPLATE,
)
"""What is kept as it is."""
TOKENIZER_SOURCES = (
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
"""From which tokenizer.json can be made where it is not there."""
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

_MEDIA_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".jinja": "text/plain",
}
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLE_SHARD = re.compile(r"pytorch_model-\d+-of-\d+\.bin")


def weight_files(there: Collection[str]) -> list[str]:
    """The files with the weights, the safest form that is there; [] if there are none."""
    if SINGLE in there:
        return [SINGLE]
    if INDEX in there:
        return [INDEX, *sorted(name for name in there if _SHARD.fullmatch(name))]
    if PICKLE in there:
        return [PICKLE]
    if PICKLE_INDEX in there:
        return [PICKLE_INDEX, *sorted(name for name in there if _PICKLE_SHARD.fullmatch(name))]
    return []


def description_files(there: Collection[str]) -> list[str]:
    """Everything else that is wanted: configs, tokenizer, template."""
    wanted = (*SETTINGS, *TOKENIZER_FILES, *(() if TOKENIZER in there else TOKENIZER_SOURCES))
    return [name for name in wanted if name in there]


def media_type(path: PurePath) -> str:
    """Of a file of a model or an adapter, by its name."""
    return _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
