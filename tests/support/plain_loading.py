"""Loads a model, and an adapter on it, as anybody would who never heard of Tuneyard.

python plain_loading.py PROMPT '[["MODEL", "ADAPTER"], ["MODEL"], …]'   prints logits after the prompt
"""

import json
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def logits(prompt: str, folder: str, adapter: str = "") -> list[float]:
    """Those of the first token of an answer."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer: Any = AutoTokenizer.from_pretrained(adapter or folder)
    turns = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False, return_tensors="pt"
    )
    with torch.no_grad():
        found: list[float] = model.eval()(input_ids=ids).logits[0, -1].tolist()
    return found


if __name__ == "__main__":
    models = json.loads(sys.argv[2])
    sys.stdout.write(json.dumps([logits(sys.argv[1], *model) for model in models]) + "\n")
