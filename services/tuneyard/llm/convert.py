"""Turns an imported language model into what runs start from: config.json, safetensors, tokenizer.

Called in a process of its own (see `tuneyard.trainer.convert_child`), because the files are strangers'. What
is right already is linked, not copied; nothing but the wanted files is taken.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer

from tuneyard.datasets.words import counted
from tuneyard.llm import hub, meta_facts, pickled_weights
from tuneyard.llm.folder_files import (
    CONFIG,
    PICKLE,
    PICKLE_INDEX,
    SETTINGS,
    TEMPLATE,
    TOKENIZER,
    TOKENIZER_FILES,
    TOKENIZER_SOURCES,
)
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.safe_config import check_folder
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.llm.weights_index import INDEX, SINGLE, WeightsIndex, read_index
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.linking import link_or_copy
from tuneyard.trainer.safe_json import refused

_DTYPES = {"F64": (8, "float64"), "F32": (4, "float32"), "F16": (2, "float16"), "BF16": (2, "bfloat16")}
_WHOLE_FOLDER = "Import the whole folder again, as it was published."


def convert(files: ModelFiles) -> Converted:
    """A checked folder in the layout of transformers; raises RecipeError with what is wrong."""
    revision = hub.fetch(files.hub_id, files.source, revision=files.revision) if files.hub_id else ""
    source = _root(files.source)
    check_folder(source)
    for name in SETTINGS:
        _link(source, files.result, name)
    index = _weights(source, files.result)
    fit = _fitting(files.result)
    _refuse_not_finite(files.result, index)
    size_bytes, dtype = _DTYPES[index.dtype]
    facts = meta_facts.facts_of(fit.model, dtype_bytes=size_bytes)
    take_tokenizer(source, files.result)
    has_template = _check_tokenizer(files.result, facts.vocab_size)
    return Converted(
        architecture=facts.architecture,
        detail=_detail(facts, dtype, has_template=has_template),
        tasks=("language_model",),
        revision=revision,
        facts=facts.to_json(),
    )


def _root(folder: Path) -> Path:
    """The folder with config.json: the one given, or the only one in it, as ZIPs have it."""
    if (folder / CONFIG).is_file():
        return folder
    inner = [path.parent for path in folder.glob(f"*/{CONFIG}")]
    if len(inner) == 1:
        return inner[0]
    if list(folder.rglob("*.gguf")):
        raise refused(
            "GGUF files are made for running a model, not for training it.",
            "Import the model in the layout of transformers: config.json, *.safetensors and tokenizer.json.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    return folder


def _link(source: Path, result: Path, name: str, *, to: str = "") -> None:
    if (source / name).is_file():
        link_or_copy(source / name, result / (to or name))


def _weights(source: Path, result: Path) -> WeightsIndex:
    """Puts the weights there as safetensors, and tells what they are."""
    names = {path.name for path in source.iterdir() if path.is_file()}
    loose = sorted(name for name in names if name.endswith(".safetensors"))
    if SINGLE in names or (INDEX not in names and len(loose) == 1):
        _link(source, result, SINGLE if SINGLE in names else loose[0], to=SINGLE)
    elif INDEX in names:
        for name in (INDEX, *read_index(source).files):
            _link(source, result, name)
    elif PICKLE in names or PICKLE_INDEX in names:
        pickled_weights.rewrite(source, result)
    else:
        raise refused(
            f"There are no weights among the files: neither {SINGLE} nor {INDEX} with its shards.",
            _WHOLE_FOLDER,
            reason="BASE_MODEL_UNAVAILABLE",
        )
    index = read_index(result)
    if strange := sorted(
        {tensor.dtype for tensor in index.tensors.values()} - set(_DTYPES) - {"BOOL", "U8", "I64"}
    ):
        raise refused(
            f"The weights are stored as {', '.join(strange)}, from which nothing is trained.",
            "Import the original weights in bfloat16, float16 or float32.",
        )
    if index.dtype not in _DTYPES:
        raise refused(
            "The weights are stored as whole numbers: the model is quantised already.",
            "Import the original weights: QLoRA quantises them itself as it loads them.",
        )
    return index


def _fitting(folder: Path) -> meta_facts.Fit:
    try:
        fit = meta_facts.fit(folder)
    except Exception as error:  # transformers raises nearly anything on a config that it does not like
        raise refused(
            f"transformers cannot make a model of config.json ({type(error).__name__}): it may be damaged, or"
            " of an architecture that is newer than the trainer's release of transformers.",
            _WHOLE_FOLDER,
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error
    if told := str(fit):
        raise refused(
            f"The weights do not fit config.json, which makes a {type(fit.model).__name__}: {told}.",
            _WHOLE_FOLDER,
            reason="BASE_MODEL_UNAVAILABLE",
        )
    return fit


def _refuse_not_finite(folder: Path, index: WeightsIndex) -> None:
    """One tensor at a time: a model with a weight that is no number gives no numbers."""
    for file in index.files:
        try:
            with safe_open(folder / file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    value = opened.get_tensor(name)
                    if value.is_floating_point() and not torch.isfinite(value).all():
                        raise refused(
                            f"{name} holds values that are not finite: the weights are of no use.",
                            "Import another copy of the model.",
                            reason="BASE_MODEL_UNAVAILABLE",
                        )
        except (SafetensorError, OSError) as error:
            raise refused(f"{file} is damaged.", _WHOLE_FOLDER, reason="BASE_MODEL_UNAVAILABLE") from error


def take_tokenizer(source: Path, result: Path) -> None:
    """Puts the tokenizer's files there, made into tokenizer.json where need be; raises RecipeError."""
    if (source / TOKENIZER).is_file():
        for name in TOKENIZER_FILES:
            _link(source, result, name)
    else:
        _make_tokenizer(source, result)


def _check_tokenizer(result: Path, rows: int) -> bool:
    """Refuses a tokenizer with tokens that the model has no embedding for; whether it brings a template."""
    tokenizer = load_tokenizer(result)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        raise refused(
            f"The tokenizer has the token {largest}, and the model's embeddings end at {rows - 1}: they"
            " do not belong together.",
            "Import the tokenizer that the model was trained with.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    return bool(tokenizer.chat_template)


def _make_tokenizer(source: Path, result: Path) -> None:
    there = [name for name in TOKENIZER_SOURCES if (source / name).is_file()]
    if not there:
        raise refused(
            f"There is no tokenizer among the files: {TOKENIZER} is missing.",
            f"Put the model's {TOKENIZER} and tokenizer_config.json into the folder, and import it again.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    try:
        made: Any = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, local_files_only=True)
        made.save_pretrained(str(result))
        if not (result / TOKENIZER).is_file():
            raise ValueError("it was not converted")
    except Exception as error:  # converters raise nearly anything
        raise refused(
            f"{TOKENIZER} is missing, and cannot be made from {', '.join(there)} ({type(error).__name__}).",
            "Load the tokenizer with transformers, call save_pretrained, and import what it wrote.",
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error
    if (source / TEMPLATE).is_file() and not (result / TEMPLATE).is_file():
        _link(source, result, TEMPLATE)


def _detail(facts: ModelFacts, dtype: str, *, has_template: bool) -> str:
    count = facts.parameters
    weights = f"{count / 1e9:.1f} B" if count >= 10**9 else f"{count / 1e6:.1f} M"
    template = "a chat template of its own" if has_template else "no chat template"
    return (
        f"{facts.architecture}, {weights} weights in {dtype}, {counted(facts.layers, 'layer')}, a"
        f" vocabulary of {facts.vocab_size}, {template}"
    )
