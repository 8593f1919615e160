"""Tiny language models in the layout of transformers, with a real tokenizer, and a task that they can learn.

Everything is computed here from the docstrings of the standard library: nothing is downloaded.
"""

import ast
import hashlib
import inspect
import os
import sys
import sysconfig
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import tokenizers
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

Architecture = Literal[
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gpt2",
    "gpt_neox",
    "phi",
    "phi3",
    "gemma",
    "gemma2",
    "bloom",
    "gpt_neo",
]
WITHOUT_FUSED_ATTENTION: tuple[Architecture, ...] = ("gemma2", "bloom", "gpt_neo")
"""Which transformers computes with plain matrices only."""
ARCHITECTURES: tuple[Architecture, ...] = tuple(
    each for each in get_args(Architecture) if each not in WITHOUT_FUSED_ATTENTION
)

CACHE = Path(__file__).resolve().parents[2] / "build" / "tiny-llm"
"""What takes seconds to compute and never changes."""

END_OF_TEXT, TURN, END_OF_TURN = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As most models bring it: without marks around what the assistant says."""

CHATML_MARKED = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}"
    "<|im_end|>{% endgeneration %}{% else %}{{ message['content'] }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The same text, with `{% generation %}` around what the assistant says."""

_MODULES = (
    "abc.py argparse.py ast.py asyncio/base_events.py asyncio/queues.py asyncio/streams.py "
    "asyncio/tasks.py base64.py bisect.py calendar.py cmd.py codecs.py collections/__init__.py "
    "configparser.py contextlib.py copy.py csv.py datetime.py decimal.py difflib.py doctest.py "
    "email/message.py enum.py filecmp.py fractions.py ftplib.py functools.py getpass.py gettext.py "
    "glob.py gzip.py hashlib.py heapq.py html/parser.py http/client.py http/cookiejar.py imaplib.py "
    "inspect.py io.py ipaddress.py json/__init__.py locale.py logging/__init__.py logging/handlers.py "
    "mailbox.py mimetypes.py ntpath.py numbers.py optparse.py os.py pathlib.py pdb.py pickle.py "
    "pickletools.py platform.py posixpath.py pprint.py pydoc.py queue.py random.py sched.py "
    "selectors.py shelve.py shlex.py shutil.py smtplib.py socket.py ssl.py statistics.py string.py "
    "subprocess.py tarfile.py tempfile.py textwrap.py threading.py timeit.py tkinter/__init__.py "
    "trace.py traceback.py turtle.py types.py typing.py unittest/case.py unittest/mock.py "
    "urllib/parse.py urllib/request.py uuid.py warnings.py wave.py weakref.py xml/dom/minidom.py "
    "zipfile.py zoneinfo/_zoneinfo.py"
)
"""Of the standard library: a megabyte of text."""


@lru_cache(maxsize=1)
def docstrings() -> tuple[str, ...]:
    """Some thousand texts that the standard library says about itself: the same for one version of Python."""
    library = Path(sysconfig.get_paths()["stdlib"])
    texts: dict[str, None] = {}
    for module in _MODULES.split():
        source = library / module
        if not source.is_file():
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > 20:
                    texts[inspect.cleandoc(text)] = None
    return tuple(texts)


@lru_cache(maxsize=4)
def _tokenizer_json(vocab: int) -> str:
    kept = CACHE / f"tokenizer-{vocab}-{of_this_python()}.json"
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=CACHE, delete=False, encoding="utf-8") as written:
            written.write(_trained_tokenizer(vocab))
        os.replace(written.name, kept)
    return kept.read_text(encoding="utf-8")


def _trained_tokenizer(vocab: int) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(docstrings(), trainer)
    return str(tokenizer.to_str())


def of_this_python() -> str:
    """A name for everything that the results depend on beside their arguments."""
    versions = (sys.version, tokenizers.__version__, torch.__version__, _MODULES)
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:12]


def tiny_tokenizer(*, vocab: int = 1024, chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on docstrings.

    With a chat template it is like those of chat models: the end of a turn is the end of the text, and there
    is a pad token. With None it is like those of base models: no template and no pad token.
    """
    chat = chat_template is not None
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(vocab)),
        eos_token=END_OF_TURN if chat else END_OF_TEXT,
        pad_token=END_OF_TEXT if chat else None,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_llama(folder: Path, **settings: Any) -> Path:
    """`tiny_model` of a Llama."""
    return tiny_model(folder, "llama", **settings)


def tiny_model(
    folder: Path,
    architecture: Architecture = "llama",
    *,
    seed: int = 0,
    vocab: int = 1024,
    tokenizer_vocab: int | None = None,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    intermediate: int | None = None,
    positions: int = 2048,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    chat_template: str | None = CHATML,
) -> Path:
    """Writes a causal language model of random weights, its tokenizer and configs; returns the folder."""
    tokenizer = tiny_tokenizer(vocab=tokenizer_vocab or vocab, chat_template=chat_template)
    shape = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "intermediate_size": intermediate or 3 * hidden,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(architecture, **_own_names(architecture, shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    _save(folder, model, tokenizer)
    return folder


def _own_names(architecture: str, shape: dict[str, Any]) -> dict[str, Any]:
    """What the architecture's config calls these settings, and those that it does not have left out."""
    heads = shape["num_attention_heads"]
    if architecture == "gpt2":
        names = {
            "hidden_size": "n_embd",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "intermediate_size": "n_inner",
            "max_position_embeddings": "n_positions",
        }
        return {names.get(key, key): value for key, value in shape.items() if key != "num_key_value_heads"}
    if architecture == "gpt_neox":
        return {key: value for key, value in shape.items() if key != "num_key_value_heads"}
    if architecture == "bloom":
        names = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
        unknown = {"num_key_value_heads", "intermediate_size", "max_position_embeddings"}
        return {names.get(key, key): value for key, value in shape.items() if key not in unknown}
    if architecture == "gpt_neo":
        names = {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"}
        layers = shape["num_hidden_layers"]
        kinds = {"attention_types": [[["global", "local"], layers // 2]], "window_size": 256}
        own = {key: value for key, value in shape.items() if key != "num_key_value_heads"}
        return {names.get(key, key): value for key, value in own.items()} | kinds
    if architecture in ("gemma", "gemma2", "qwen3"):
        return {**shape, "head_dim": shape["hidden_size"] // heads}
    return shape


def _save(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
