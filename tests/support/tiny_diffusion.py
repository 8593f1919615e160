"""Tiny text-to-image pipelines of random weights in the layout of diffusers, with real small tokenizers.

Everything is made here: nothing is downloaded. Each is written within a second or two; to try the command
line with one, `python -m tests.support.tiny_diffusion FOLDER [sd|sdxl|sd3]`.
"""

import json
import math
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import diffusers as untyped_diffusers
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

diffusers: Any = untyped_diffusers

Family = Literal["sd", "sdxl", "sd3"]
FAMILIES: tuple[Family, ...] = ("sd", "sdxl", "sd3")
Prediction = Literal["epsilon", "v_prediction"]

START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = (
    "a an the of on in with and at under over beside near by photo picture drawing painting "
    "sketch style circle square triangle star ring cross line dot red green blue yellow orange "
    "purple pink black white grey brown small large big tiny huge bright dark light left right "
    "centre corner middle background paper canvas ink pencil watercolour stripes striped dotted "
    "plain one two three four five many some portrait landscape house tree cat dog bird person "
    "face flower cup car boat river mountain sky night day morning snow sun moon low quality "
    "high detailed simple minimal abstract pattern round sharp soft filled outlined blurry sks "
    "zwx "
)
"""Of captions: what the tokenizers are trained on."""


@lru_cache(maxsize=1)
def _clip_files() -> tuple[str, str]:
    """vocab.json and merges.txt of a byte-level BPE tokenizer as CLIP's: 49,408 tokens fewer, same rules."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1022,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 2, trainer)
    made = json.loads(tokenizer.to_str())["model"]
    tokens = list(made["vocab"])
    # CLIP has every byte at the end of a word as well, and its special tokens last.
    tokens += [f"{each}</w>" for each in sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens = [*dict.fromkeys(tokens), START, END]
    vocab = json.dumps({token: number for number, token in enumerate(tokens)}, ensure_ascii=False)
    merges = [" ".join(pair) if isinstance(pair, list) else str(pair) for pair in made["merges"]]
    return vocab, "\n".join(["#version: 0.2", *merges, ""])


def save_clip_tokenizer(folder: Path, *, pad_token: str = END, length: int = 77) -> None:
    """Writes a tokenizer as those of published pipelines: vocab.json, merges.txt and two configs."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = _clip_files()
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad_token}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2), encoding="utf-8")


def tiny_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of all the pipelines here, loaded from a folder that it is written into."""
    save_clip_tokenizer(folder)
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return loaded


@lru_cache(maxsize=1)
def _t5_json() -> str:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,!?-'"),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 2, trainer)
    return str(tokenizer.to_str())


def _t5_tokenizer() -> T5Tokenizer:
    pieces = [(piece, score) for piece, score in json.loads(_t5_json())["model"]["vocab"]]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=32)


def tiny_pipeline(folder: Path, family: Family = "sd", **settings: Any) -> Path:
    """Writes a pipeline of that family; the settings are those of `tiny_sd`, `tiny_sdxl` and `tiny_sd3`."""
    made = {"sd": tiny_sd, "sdxl": tiny_sdxl, "sd3": tiny_sd3}[family]
    return made(folder, **settings)


def tiny_sd(
    folder: Path,
    *,
    seed: int = 0,
    width: int = 16,
    prediction: Prediction = "epsilon",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A Stable Diffusion 1.5 pipeline of some 100,000 weights (2.x with `prediction="v_prediction"`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextModel(clip_config(32))
        unet = diffusers.UNet2DConditionModel(
            **_unet_shape(width), attention_head_dim=2, cross_attention_dim=32, use_linear_projection=False
        )
        vae = _vae(latent_channels=4)
    scheduler = diffusers.PNDMScheduler(
        **BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction
    )
    parts = {"text_encoder": text, "unet": unet, "vae": vae, "scheduler": scheduler}
    return write_pipeline(folder, "sd", parts, dtype)


def tiny_sdxl(folder: Path, *, seed: int = 0, width: int = 16, dtype: torch.dtype = torch.float32) -> Path:
    """An SDXL base pipeline: two text encoders, time ids, pooled text."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextModel(clip_config(32))
        text_2 = CLIPTextModelWithProjection(clip_config(64, act="gelu"))
        unet = diffusers.UNet2DConditionModel(
            **_unet_shape(width),
            attention_head_dim=(2, 4),
            cross_attention_dim=96,
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        )
        vae = _vae(latent_channels=4)
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    parts = {"text_encoder": text, "text_encoder_2": text_2, "unet": unet, "vae": vae, "scheduler": scheduler}
    return write_pipeline(folder, "sdxl", parts, dtype)


def tiny_sd3(
    folder: Path, *, seed: int = 0, width: int = 32, t5: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    """A Stable Diffusion 3 pipeline: flow matching, a transformer, two CLIPs, and a T5 unless that is off."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextModelWithProjection(clip_config(32))
        text_2 = CLIPTextModelWithProjection(clip_config(32, act="gelu"))
        transformer = diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=width // 4,
            num_attention_heads=4,
            joint_attention_dim=96,
            caption_projection_dim=width,
            pooled_projection_dim=64,
            pos_embed_max_size=32,
        )
        vae = _vae(latent_channels=4, flow=True)
        parts = {"text_encoder": text, "text_encoder_2": text_2, "transformer": transformer, "vae": vae}
        if t5:
            parts["text_encoder_3"] = _t5(96)
    parts["scheduler"] = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return write_pipeline(folder, "sd3", parts, dtype)


_INDEXES: dict[Family, dict[str, Any]] = {
    "sd": {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "sdxl": {
        "_class_name": "StableDiffusionXLPipeline",
        "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True,
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "sd3": {
        "_class_name": "StableDiffusion3Pipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
}

BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
_PICTURES = 8


def clip_config(
    hidden: int,
    *,
    act: str = "quick_gelu",
    layers: int = 3,
    heads: int = 2,
    projection: int = 32,
    widen: int = 2,
) -> CLIPTextConfig:
    """Of a text encoder that reads what the tokenizers here write."""
    vocab, _ = _clip_files()
    count = len(json.loads(vocab))
    return CLIPTextConfig(
        vocab_size=count,
        hidden_size=hidden,
        intermediate_size=widen * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        projection_dim=projection,
        hidden_act=act,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
        pad_token_id=count - 1,
    )


def _t5(hidden: int) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(_t5_tokenizer()), d_model=hidden, d_kv=8, d_ff=hidden, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config)


def _unet_shape(width: int) -> dict[str, Any]:
    return {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (width, 2 * width),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
    }


def _vae(*, latent_channels: int, flow: bool = False) -> Any:
    """An encoder that makes pictures eight times smaller."""
    widths = (8, 8, 8, 8)
    vae = diffusers.AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=not flow,
        use_post_quant_conv=not flow,
    )
    return scaled(vae, flow=flow)


def scaled(vae: Any, *, flow: bool = False) -> Any:
    """The VAE with the scale that gives its latents a deviation of 1."""
    with torch.no_grad():
        latents = vae.encode(_pictures()).latent_dist.mean
    mean = float(latents.mean()) if flow else 0.0
    vae.register_to_config(
        scaling_factor=round(1 / max(float(latents.std()), 1e-6), 4), shift_factor=mean if flow else None
    )
    return vae


def _pictures() -> torch.Tensor:
    """Smooth pictures in colour of 32 px, from -1 to 1."""
    ramp = torch.linspace(0, math.tau, 32)
    numbers = torch.arange(1, _PICTURES * 3 + 1).reshape(_PICTURES, 3, 1, 1)
    return torch.sin(ramp.reshape(1, 1, 1, 32) * numbers / 5 + ramp.reshape(1, 1, 32, 1) * numbers / 9)


def tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Writes a CLIP model that looks at pictures of 32 px. Its weights are random, but for what all its
    embeddings have in common: no score of it is cut off at 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(
            CLIPConfig(
                text_config=clip_config(32).to_dict(),
                vision_config={
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "image_size": 32,
                    "patch_size": 8,
                },
                projection_dim=16,
            )
        )
    with torch.no_grad():
        for norm in (model.text_model.final_layer_norm, model.vision_model.post_layernorm):
            norm.bias.fill_(0.5)
        for projection in (model.text_projection, model.visual_projection):
            projection.weight.add_(0.1)
    model.save_pretrained(folder)
    save_clip_tokenizer(folder)
    looks = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", **looks}, indent=2), encoding="utf-8"
    )
    return folder


def _save(folder: Path, parts: dict[str, Any], dtype: torch.dtype) -> None:
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            for parameter in part.parameters():
                parameter.data = parameter.data.to(dtype)
        part.save_pretrained(folder / name)


def write_pipeline(folder: Path, family: Family, parts: dict[str, Any], dtype: torch.dtype) -> Path:
    """Writes these parts, the tokenizers that belong to them, and an index; those left out are absent."""
    index = dict(_INDEXES[family])
    if "text_encoder_3" not in parts:
        index |= {name: [None, None] for name in ("text_encoder_3", "tokenizer_3") if name in index}
    save_clip_tokenizer(folder / "tokenizer")
    if "tokenizer_2" in index:
        save_clip_tokenizer(folder / "tokenizer_2", pad_token="!")
    if "text_encoder_3" in parts:
        _t5_tokenizer().save_pretrained(folder / "tokenizer_3")
    _save(folder, parts, dtype)
    text = json.dumps({**index, "_diffusers_version": "0.30.0"}, indent=2, sort_keys=True)
    (folder / "model_index.json").write_text(text + "\n", encoding="utf-8")
    return folder


def weights_of(modules: Iterable[torch.nn.Module]) -> int:
    """How many weights modules have together."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


if __name__ == "__main__":
    tiny_pipeline(Path(sys.argv[1]), *sys.argv[2:3])  # type: ignore[arg-type]
