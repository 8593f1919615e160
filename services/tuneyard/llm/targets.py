"""Which layers get an adapter, by their names alone: shared by the estimate and by the model itself."""

from collections.abc import Collection, Iterable, Sequence

ALL_LINEAR = "all-linear"
"""Stands for every linear layer but the head."""

_DEFAULTS: tuple[tuple[str, ...], ...] = (
    ("q_proj", "v_proj"),  # Llama, Mistral, Qwen2, Gemma, Phi, OPT, GPT-J, …
    ("query_key_value",),  # GPT-NeoX, Falcon, Bloom
    ("qkv_proj",),  # Phi-3
    ("Wqkv",),  # MPT, DBRX
    ("c_attn",),  # GPT-2, StarCoder
    ("q_attn", "c_attn"),
    ("query", "value"),
    ("in_proj", "x_proj"),  # state space models, which have no attention
)
"""The projections that LoRA adapts by default, the first that a model has: query and value, or where one
layer holds all three, that."""


def requested_targets(names: Iterable[str]) -> tuple[str, ...]:
    """The names as they were given, where one string may hold several: "q_proj,v_proj"."""
    parts = (part.strip() for name in names for part in name.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def default_targets(leaves: Collection[str]) -> tuple[str, ...]:
    """What is adapted where nothing is asked for; () if the names of a model's layers tell nothing.

    `leaves` are the last parts of the linear layers' names, such as "q_proj".
    """
    return next((names for names in _DEFAULTS if all(name in leaves for name in names)), ())


def chosen_layers(layers: Sequence[str], requested: Iterable[str], *, head: str = "") -> list[str]:
    """The full names of the layers to adapt, in the model's order.

    `layers` are the full names of all linear layers, `head` the one that gives the logits, which only its own
    name chooses. A requested name chooses the layers that it is the end of, at a dot. Raises ValueError with
    the names that choose nothing.
    """
    body = [layer for layer in layers if layer != head]
    wanted = requested_targets(requested) or default_targets({leaf(layer) for layer in body})
    if wanted == (ALL_LINEAR,):
        return body
    unknown = [name for name in wanted if not any(_ends_with(layer, name) for layer in layers)]
    if unknown or not wanted:
        raise ValueError(", ".join(unknown))
    return [layer for layer in layers if any(_ends_with(layer, name) for name in wanted)]


def leaf(layer: str) -> str:
    """The last part of a layer's name."""
    return layer.rpartition(".")[2]


def _ends_with(layer: str, name: str) -> bool:
    return layer == name or layer.endswith("." + name)
