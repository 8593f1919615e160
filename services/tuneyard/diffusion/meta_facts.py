"""The facts of a pipeline's folder: networks on the meta device, headers of files, and no weights.

The folder is in diffusers' layout and was checked (`safe_pipeline`); nothing is checked here.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
import transformers as untyped_transformers
from peft import LoraConfig, inject_adapter_in_model
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, CLIPTextConfig, CLIPTextModel

from tuneyard.diffusion.loras import use_in_input_format
from tuneyard.diffusion.pipeline_facts import Activations, Linears, PipelineFacts
from tuneyard.diffusion.safe_pipeline import INDEX, Kind, check_index

diffusers: Any = untyped_diffusers
transformers: Any = untyped_transformers

_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
_TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
_CHECKPOINTED = ("ResnetBlock2D", "BasicTransformerBlock", "JointTransformerBlock")
"""What diffusers computes again as a whole, of which the largest counts."""
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_SMALLEST_SIDE = 4


def facts_of(folder: Path) -> PipelineFacts:
    """The facts of a folder with model_index.json. Raises as `safe_pipeline.check_index`."""
    index = check_index(_json(folder / INDEX))
    return facts_of_configs(
        index.kind,
        {part: _json(folder / part / "config.json") for part in index.weighty},
        stored_bytes=_stored_bytes(folder),
    )


def facts_of_configs(kind: Kind, configs: Mapping[str, Any], *, stored_bytes: int) -> PipelineFacts:
    """The facts that follow from the parts' config.json, by the names of their folders."""
    denoiser = _denoiser(kind, configs)
    vae_config = configs["vae"]
    with torch.device("meta"):
        vae = diffusers.AutoencoderKL.from_config(vae_config)
        texts = {name: _text(config) for name, config in configs.items() if name.startswith("text_encoder")}
    adapted = [text for text in texts.values() if _is_clip(text)]
    widths = vae_config["block_out_channels"]
    scale = 2 ** (len(widths) - 1)
    side = int(denoiser.config.sample_size)
    return PipelineFacts(
        kind=kind,
        resolution=side * scale,
        latent_scale=scale,
        latent_channels=int(vae_config["latent_channels"]),
        denoiser_parameters=_count(denoiser),
        vae_parameters=_count(vae),
        # The decoder's last blocks come to the full size with the second width.
        vae_width=int(widths[1] if len(widths) > 1 else widths[0]),
        text_parameters=sum(_count(text) for text in texts.values()),
        text_tokens=max((text.config.max_position_embeddings for text in adapted), default=77),
        text_token_bytes=sum(_text_token_bytes(text) for text in adapted),
        dtype_bytes=stored_bytes,
        position_operations=_operations(kind, denoiser, side) / (side * side),
        linears=_linears([denoiser]),
        text_linears=_linears(adapted),
        half=_activations(kind, configs, torch.bfloat16, side),
        full=_activations(kind, configs, torch.float32, side),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _stored_bytes(folder: Path) -> int:
    """Of most of the denoiser's numbers."""
    found: Counter[str] = Counter()
    for part in ("unet", "transformer"):
        for path in (folder / part).glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    found[file.get_slice(name).get_dtype()] += 1
    return _DTYPE_BYTES.get(found.most_common(1)[0][0], 4) if found else 4


def _denoiser(kind: Kind, configs: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        if kind == "sd3":
            model = diffusers.SD3Transformer2DModel.from_config(configs["transformer"])
        else:
            model = diffusers.UNet2DConditionModel.from_config(configs["unet"])
    # Tables that numpy computed are on the processor.
    return model.to("meta")


def _text(config: Mapping[str, Any]) -> Any:
    settings = AutoConfig.for_model(**{"model_type": "clip_text_model", **config})
    class_name = (config.get("architectures") or ["CLIPTextModel"])[0]
    return getattr(transformers, class_name)(settings)


def _is_clip(text: Any) -> bool:
    return isinstance(text.config, CLIPTextConfig)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _linears(models: Iterable[nn.Module]) -> tuple[Linears, ...]:
    counts: Counter[tuple[str, int, int]] = Counter()
    for model in models:
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear):
                counts[_leaf(path), module.in_features, module.out_features] += 1
    return tuple(Linears(name, inputs, outputs, count) for (name, inputs, outputs), count in counts.items())


def _leaf(path: str) -> str:
    """The last part of a path, and with a number the part before it too: "to_out.0"."""
    *rest, last = path.split(".")
    return f"{rest[-1]}.{last}" if last.isdigit() and rest else last


def _activations(kind: Kind, configs: Mapping[str, Any], dtype: torch.dtype, side: int) -> Activations:
    """From two sizes of latents, which the bytes are affine in."""
    sides = (max(_SMALLEST_SIDE, side // 2), max(2 * _SMALLEST_SIDE, side))
    model = _adapted(_denoiser(kind, configs), dtype)
    plain = [_kept(model, partial(_forward, kind, side=each, dtype=dtype)) for each in sides]
    model.enable_gradient_checkpointing()
    again = [_kept(model, partial(_forward, kind, side=each, dtype=dtype)) for each in sides]
    fixed, slope = _line(sides, [kept.total for kept in plain])
    again_fixed, again_slope = _line(
        sides, [inputs.total + whole.largest for inputs, whole in zip(again, plain, strict=True)]
    )
    return Activations(fixed, slope, again_fixed, again_slope)


def _line(sides: Sequence[int], values: Sequence[int]) -> tuple[int, float]:
    low, high = (side * side for side in sides)
    slope = (values[1] - values[0]) / (high - low)
    return max(0, round(values[0] - slope * low)), slope


def _adapted(model: Any, dtype: torch.dtype) -> Any:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(dtype)
    model.requires_grad_(False)
    with torch.device("meta"):
        inject_adapter_in_model(LoraConfig(r=16, target_modules=_ATTENTION), model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    use_in_input_format(model)
    return model.train()


def _forward(kind: Kind, model: Any, *, side: int, dtype: torch.dtype) -> None:
    config = model.config

    def number(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device="meta")

    latents, time = number(1, config.in_channels, side, side), torch.empty(1, device="meta")
    if kind == "sd3":
        text, pooled = number(1, 154, config.joint_attention_dim), number(1, config.pooled_projection_dim)
        model(latents, encoder_hidden_states=text, pooled_projections=pooled, timestep=time)
        return
    added = None
    if kind == "sdxl":
        ids = 6
        width = config.projection_class_embeddings_input_dim - ids * config.addition_time_embed_dim
        added = {"text_embeds": number(1, width), "time_ids": number(1, ids)}
    model(latents, time, number(1, 77, config.cross_attention_dim), added_cond_kwargs=added)


def _operations(kind: Kind, denoiser: Any, side: int) -> int:
    """Of one forward pass; those of attention come from its shapes."""
    attention = _FusedAttention()
    with FlopCounterMode(display=False) as counted, attention, torch.no_grad():
        _forward(kind, denoiser, side=side, dtype=torch.float32)
    return int(counted.get_total_flops()) + attention.operations


def _text_token_bytes(text: Any) -> int:
    tokens = int(text.config.max_position_embeddings)
    with torch.device("meta"):
        model = CLIPTextModel(text.config).train()
        model.requires_grad_(False)
        inject_adapter_in_model(LoraConfig(r=16, target_modules=_TEXT_ATTENTION), model)
        ids = torch.zeros(1, tokens, dtype=torch.long)
    return _kept(model, lambda model: model(input_ids=ids)).total // tokens


@dataclass
class _Kept:
    """Bytes that autograd saved, each storage once."""

    total: int = 0
    largest: int = 0
    """Of a block that gradient checkpointing computes as one."""
    seen: dict[int, Tensor] = field(default_factory=dict)


def _kept(model: nn.Module, forward: Callable[[Any], object]) -> _Kept:
    kept, own = _Kept(), {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    begun: list[int] = []

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own and storage._cdata not in kept.seen:
            # Held, so that no other tensor gets its place.
            kept.seen[storage._cdata] = value
            kept.total += storage.nbytes()
        return value

    def enter(module: nn.Module, given: object) -> None:
        begun.append(kept.total)

    def leave(module: nn.Module, given: object, result: object) -> None:
        kept.largest = max(kept.largest, kept.total - begun.pop())

    hooks = []
    for module in model.modules():
        if type(module).__name__ in _CHECKPOINTED:
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value), _FusedAttention():
        forward(model)
    for hook in hooks:
        hook.remove()
    return kept


class _FusedAttention(TorchFunctionMode):
    """Attention as kernels compute it, which keep inputs and outputs, and no scores."""

    operations = 0
    """Of all attention so far."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            given = [*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :])]
            query, key, value = given[:3]
            self.operations += 2 * query.numel() * key.shape[-2] + 2 * query.shape[:-1].numel() * (
                value.shape[-2] * value.shape[-1]
            )
            return _Fused.apply(query, key, value)
        return func(*args, **kwargs)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, out)
        return out
