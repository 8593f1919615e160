"""LoRA as diffusers' own text-to-image recipe trains it, by its public API. It knows nothing of Tuneyard.

    python diffusers_lora.py ARM FOLDER

ARM: `diffusers` reads the images and runs the VAE and the text encoders in each step, as the recipe does;
`cached` is the same loop with latents and embeddings computed beforehand and kept in memory.
Noise, times and the adapters' first weights are those of the case, so that losses can be compared.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from torchvision import transforms
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.benchmarks.lockstep import Pace


class Inputs:
    """Makes what a step computes with, from files each time."""

    def __init__(self, folder: Path, facts: dict[str, Any], dtype: torch.dtype) -> None:
        device, base, side = facts["device"], folder / "base", facts["resolution"]
        self.folder, self.facts, self.device, self.dtype = folder, facts, device, dtype
        self.vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=dtype).to(device)
        self.vae.requires_grad_(False)
        kinds = [("", CLIPTextModel)]
        if (base / "text_encoder_2").is_dir():
            kinds.append(("_2", CLIPTextModelWithProjection))
        self.encoders = [
            (
                CLIPTokenizer.from_pretrained(base / f"tokenizer{end}"),
                kind.from_pretrained(base / f"text_encoder{end}", dtype=dtype)
                .to(device)
                .requires_grad_(False),
            )
            for end, kind in kinds
        ]
        self.transform = transforms.Compose(
            [
                transforms.Resize(side, interpolation=transforms.InterpolationMode.LANCZOS),
                transforms.CenterCrop(side),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def images(self, names: list[str]) -> Any:
        """The distribution of the images' latents."""
        opened = [Image.open(self.folder / "data" / name).convert("RGB") for name in names]
        pixels = torch.stack([self.transform(image) for image in opened])
        with torch.no_grad():
            return self.vae.encode(pixels.to(self.device, self.dtype)).latent_dist

    def texts(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the text encoders say, and the pooled text where there are two of them."""
        states, pooled = [], None
        for tokenizer, encoder in self.encoders:
            ids = tokenizer(
                captions,
                max_length=tokenizer.model_max_length,
                padding="max_length",
                truncation=True,
                return_tensors="pt",
            ).input_ids
            with torch.no_grad():
                found = encoder(ids.to(self.device), output_hidden_states=len(self.encoders) > 1)
            if len(self.encoders) == 1:
                return found[0], None
            states.append(found.hidden_states[-2])
            pooled = found[0]
        return torch.cat(states, dim=-1), pooled


def adapted(folder: Path, facts: dict[str, Any], dtype: torch.dtype) -> Any:
    """The UNet with the adapters that everybody begins with."""
    unet = UNet2DConditionModel.from_pretrained(folder / "base" / "unet", torch_dtype=dtype)
    unet.requires_grad_(False).to(facts["device"])
    unet.add_adapter(
        LoraConfig(
            r=facts["rank"],
            lora_alpha=facts["rank"],
            init_lora_weights="gaussian",
            target_modules=["to_k", "to_q", "to_v", "to_out.0"],
        )
    )
    cast_training_params(unet, dtype=torch.float32)
    own = dict(unet.named_parameters())
    with torch.no_grad():
        for name, value in load_file(folder / "adapter.safetensors").items():
            own[name.removeprefix("unet.")].copy_(value)
    if facts["checkpointing"]:
        unet.enable_gradient_checkpointing()
    return unet


def main(arm: str, folder: Path) -> None:
    """Trains in turn with the others."""
    facts = json.loads((folder / "case.json").read_text())
    torch.set_num_threads(facts["threads"])
    dtype, device = torch.bfloat16, facts["device"]
    accelerator = Accelerator(mixed_precision="bf16", cpu=device == "cpu")
    inputs: Any = Inputs(folder, facts, dtype)
    scheduler = DDPMScheduler.from_pretrained(folder / "base" / "scheduler")
    unet = adapted(folder, facts, dtype)
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=facts["learning_rate"], weight_decay=1e-2)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    unet.train()
    drawn = {name: value.to(device) for name, value in load_file(folder / "steps.safetensors").items()}
    scale = inputs.vae.config.scaling_factor
    kept: dict[str, Any] = {}
    if arm == "cached":
        for step in facts["of_steps"]:
            for name, caption in zip(step["images"], step["captions"], strict=True):
                if name not in kept:
                    found = inputs.images([name])
                    kept[name] = (found.mean.float(), found.std.float(), *inputs.texts([caption]))
        inputs = None
    side = facts["resolution"]
    sizes = torch.tensor([[side * 5 // 4, side * 5 // 4, 0, 0, side, side]] * facts["batch_size"]).to(device)
    pace = Pace(steps=facts["steps"], steps_a_turn=facts["steps_a_turn"], device=device)
    losses = []
    pace.begin()
    for number, step in enumerate(facts["of_steps"]):
        if inputs is None:
            parts = list(zip(*(kept[name] for name in step["images"]), strict=True))
            mean, std, hidden = (torch.cat(part) for part in parts[:3])
            pooled = torch.cat(parts[3]) if parts[3][0] is not None else None
        else:
            found = inputs.images(step["images"])
            mean, std = found.mean.float(), found.std.float()
            hidden, pooled = inputs.texts(step["captions"])
        latents = ((mean + std * drawn[f"{number}.latent_noise"]) * scale).to(dtype)
        noise, times = drawn[f"{number}.noise"].to(dtype), drawn[f"{number}.times"]
        noisy = scheduler.add_noise(latents, noise, times)
        more = {} if pooled is None else {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
        predicted = unet(noisy, times, hidden, return_dict=False, **more)[0]
        loss = functional.mse_loss(predicted.float(), noise.float(), reduction="mean")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        pace.step_done()
    pace.end({number: loss.item() for number, loss in enumerate(losses, start=1)})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
