"""Draws with a LoRA as anybody would who never heard of Tuneyard.

python plain_drawing.py PROMPT '[["PIPELINE", "LORA FILE"], ["PIPELINE"], …]'   prints latents of one seed
"""

import json
import sys
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch

diffusers: Any = untyped_diffusers


def latents(prompt: str, folder: str, lora: str = "") -> list[float]:
    """After three steps."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if lora:
        pipeline.load_lora_weights(str(Path(lora).parent), weight_name=Path(lora).name)
    made: torch.Tensor = pipeline(
        prompt,
        num_inference_steps=3,
        height=64,
        width=64,
        output_type="latent",
        generator=torch.Generator().manual_seed(3),
    ).images
    found: list[float] = made.flatten().tolist()
    return found


if __name__ == "__main__":
    models = json.loads(sys.argv[2])
    sys.stdout.write(json.dumps([latents(sys.argv[1], *model) for model in models]) + "\n")
