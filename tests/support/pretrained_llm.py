"""A tiny Llama that has read the standard library's docstrings for half a minute; kept between test runs.

Half of what it reads are short chats in which the assistant repeats the user: a model that never looked back
at what was said cannot be taught to answer by adapters alone.
"""

import hashlib
import inspect
import math
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.support.tiny_llm import CACHE, docstrings, of_this_python, tiny_llama, tiny_tokenizer

STEPS, ROWS, LENGTH, PEAK_RATE = 350, 16, 64, 3e-3
_SHAPE = {"hidden": 128, "layers": 3, "vocab": 1024}


def pretrained_llama(folder: Path) -> Path:
    """Copies the pre-trained model to a folder; computes it first where nobody has, in 20 to 40 seconds."""
    kept = CACHE / f"llama-{_identity()}"
    if not kept.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        _pretrain(tiny_llama(fresh, **_SHAPE))
        try:
            os.rename(fresh, kept)
        except OSError:  # somebody else was faster
            shutil.rmtree(fresh)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder


def _identity() -> str:
    source = inspect.getsource(sys.modules[__name__])
    return hashlib.sha256(f"{of_this_python()} {source}".encode()).hexdigest()[:12]


def _pretrain(folder: Path) -> None:
    model: Any = LlamaForCausalLM.from_pretrained(folder, local_files_only=True)
    read = _tokens(tiny_tokenizer(vocab=_SHAPE["vocab"]))
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(STEPS):
            rate = (
                PEAK_RATE * min(1, (step + 1) / 20) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / STEPS)))
            )
            optimizer.param_groups[0]["lr"] = rate
            starts = torch.randint(0, len(read) - LENGTH, (ROWS,), generator=draw)
            rows = torch.stack([read[start : start + LENGTH] for start in starts])
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(input_ids=rows, labels=rows, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)


def _tokens(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Everything that is read, in one row."""
    texts, draw = list(docstrings()), random.Random(0)
    draw.shuffle(texts)
    ids: list[int] = []
    for text in texts:
        said = text.split("\n")[0]
        if draw.random() < 0.6:
            echo = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
            ids += cast(list[int], tokenizer.apply_chat_template(echo, return_dict=False))
        else:
            ids += [*tokenizer.encode(text[:400]), tokenizer.pad_token_id]
    return torch.tensor(ids)
