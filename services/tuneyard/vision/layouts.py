"""Other names for torchvision's weights: older ones of its own, and those of transformers' ViT.

Renames and reshapes tensors only; whether they fit an architecture is judged elsewhere.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
_OLD_MLP = re.compile(r"^(.*\.mlp)\.linear_([12])\.(weight|bias)$")
_VIT_LAYER = re.compile(r"^vit\.(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)$")
_VIT_OUTSIDE = {
    "vit.embeddings.cls_token": "class_token",
    "vit.embeddings.position_embeddings": "encoder.pos_embedding",
    "vit.embeddings.patch_embeddings.projection.weight": "conv_proj.weight",
    "vit.embeddings.patch_embeddings.projection.bias": "conv_proj.bias",
    "vit.layernorm.weight": "encoder.ln.weight",
    "vit.layernorm.bias": "encoder.ln.bias",
    "classifier.weight": "heads.head.weight",
    "classifier.bias": "heads.head.bias",
}
_VIT_INSIDE = {
    "layernorm_before": "ln_1",
    "layernorm_after": "ln_2",
    "attention.output.dense": "self_attention.out_proj",
    "attention.o_proj": "self_attention.out_proj",
    "intermediate.dense": "mlp.0",
    "mlp.fc1": "mlp.0",
    "output.dense": "mlp.3",
    "mlp.fc2": "mlp.3",
}
_VIT_IN_PROJECTIONS = (
    ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
)


def modern_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's weights by today's names: the published files of densenet and ViT have older ones."""
    renamed = {}
    for name, value in state.items():
        if match := _OLD_DENSENET.match(name):
            renamed[match[1] + match[2]] = value
        elif match := _OLD_MLP.match(name):
            renamed[f"{match[1]}.{3 * (int(match[2]) - 1)}.{match[3]}"] = value
        else:
            renamed[name] = value
    return renamed


def is_transformers_vit(state: Mapping[str, Tensor]) -> bool:
    """Whether the weights are those of transformers' ViTForImageClassification, in its old or new layout."""
    prefixed = any(name.startswith("vit.embeddings.") for name in state)
    return prefixed or "embeddings.patch_embeddings.projection.weight" in state


def from_transformers_vit(
    state: Mapping[str, Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    wanted_mean: Sequence[float],
    wanted_std: Sequence[float],
) -> dict[str, Tensor]:
    """The weights in torchvision's layout, for inputs normalised by `wanted_mean` and `wanted_std`.

    transformers' own are for inputs normalised by `mean` and `std`. The patches do not overlap and are not
    padded, so the change of normalisation goes into the first convolution without loss. A pooler is left out.
    """
    bare = not any(name.startswith("vit.") for name in state)
    named = {f"vit.{name}" if bare else name: value for name, value in state.items()}
    converted: dict[str, Tensor] = {}
    layers: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in named.items():
        if target := _VIT_OUTSIDE.get(name):
            converted[target] = value
        elif match := _VIT_LAYER.match(name):
            layers.setdefault((match[1], match[3]), {})[match[2]] = value
        elif not name.startswith("vit.pooler."):
            converted[name] = value
    for (number, kind), parts in layers.items():
        prefix = f"encoder.layers.encoder_layer_{number}"
        for projections in _VIT_IN_PROJECTIONS:
            if all(part in parts for part in projections):
                together = torch.cat([parts.pop(part) for part in projections])
                converted[f"{prefix}.self_attention.in_proj_{kind}"] = together
        for part, value in parts.items():
            converted[f"{prefix}.{_VIT_INSIDE.get(part, part)}.{kind}"] = value
    _fold_normalisation(converted, mean=mean, std=std, wanted_mean=wanted_mean, wanted_std=wanted_std)
    return converted


def _fold_normalisation(
    state: dict[str, Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    wanted_mean: Sequence[float],
    wanted_std: Sequence[float],
) -> None:
    weight, bias = state.get("conv_proj.weight"), state.get("conv_proj.bias")
    if weight is None or bias is None or weight.dim() != 4 or weight.shape[1] != len(mean):
        return
    old_mean, old_std = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    new_mean = torch.tensor(wanted_mean, dtype=torch.float64)
    new_std = torch.tensor(wanted_std, dtype=torch.float64)
    exact = weight.double()
    shift = ((new_mean - old_mean) / old_std).view(1, -1, 1, 1)
    state["conv_proj.bias"] = (bias.double() + (exact * shift).sum((1, 2, 3))).float()
    state["conv_proj.weight"] = (exact * (new_std / old_std).view(1, -1, 1, 1)).float()
