"""What memory, time and settings depend on of a causal language model: its sizes, counted without weights.

Imports no torch. The counts follow from config.json for the architectures below; a converter that has the
library at hand makes exact facts of any architecture, and stores them with the model in the same JSON.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

MIXING = frozenset({"biogpt", "falcon", "opt", "recurrent_gemma", "xglm"})
"""Types of models that take positions and yet let samples of one row see each other, as transformers computes
them: found by comparing (`decoder_of`)."""
_DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Linears:
    """Linear layers of one name and shape, the language model's head aside."""

    name: str
    """The last part of their path, by which adapters name them: "q_proj"."""
    inputs: int
    outputs: int
    count: int
    """In the whole model."""

    @property
    def parameters(self) -> int:
        """Weights of all of them, without biases."""
        return self.inputs * self.outputs * self.count


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A causal language model."""

    architecture: str
    """The class in transformers: "LlamaForCausalLM"."""
    model_type: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    """Tokens that its positions reach; 0 where they have no end, or it is not known."""
    tied_embeddings: bool
    parameters: int
    """Of everything, a tied head counted once."""
    dtype_bytes: int
    """Of a weight as it is stored."""
    linears: tuple[Linears, ...]
    attention_dropout: float = 0.0
    """While it trains; with any, processors compute attention in its plain form, at length squared."""
    fused_attention: bool = True
    """Whether transformers computes its attention without keeping all scores, at length squared."""
    isolates: bool = True
    """Whether samples that share a row do not see each other, as far as that is known without weights."""

    @property
    def linear_parameters(self) -> int:
        """Weights that a quantised base holds in 4 or 8 bits: those of linear layers but for the head."""
        return sum(linear.parameters for linear in self.linears)

    @property
    def other_parameters(self) -> int:
        """Embeddings, head, norms and biases."""
        return self.parameters - self.linear_parameters

    @property
    def gated(self) -> bool:
        """Whether the feed-forward part multiplies two projections, as Llama's does."""
        return any(linear.name in ("gate_proj", "gate_up_proj") for linear in self.linears)

    def to_json(self) -> str:
        """The facts as JSON, sorted, so that equal facts are equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The facts again. Fields that are not known here are left out; ValueError where one is missing."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("the facts of a model are an object")
        known = {field.name for field in fields(cls)}
        try:
            linears = tuple(Linears(**linear) for linear in found.pop("linears"))
            return cls(linears=linears, **{name: value for name, value in found.items() if name in known})
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no facts of a model: {error}") from error

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        """The facts of a config.json; None where its architecture is none of those that are counted here."""
        model_type = str(config.get("model_type", ""))
        if model_type not in _SHAPES:
            return None
        try:
            shape = _SHAPES[model_type](config)
        except (KeyError, TypeError, ZeroDivisionError):
            return None
        architectures = config.get("architectures") or [""]
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
        tied = bool(config.get("tie_word_embeddings", model_type in _TIED_BY_DEFAULT))
        return cls(
            architecture=str(architectures[0]),
            model_type=model_type,
            hidden_size=shape.hidden,
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            intermediate_size=shape.intermediate,
            vocab_size=shape.vocab,
            max_positions=shape.positions,
            tied_embeddings=tied,
            parameters=shape.parameters(tied=tied),
            dtype_bytes=_DTYPE_BYTES.get(dtype, 4),
            linears=tuple(shape.linears()),
            attention_dropout=_attention_dropout(config, model_type),
            fused_attention=model_type not in _UNFUSED,
            isolates=model_type not in MIXING,
        )


def _attention_dropout(config: Mapping[str, Any], model_type: str) -> float:
    unset = 0.1 if model_type == "gpt2" else 0.0
    return float(config.get("attn_pdrop", config.get("attention_dropout", unset)) or 0.0)


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What an architecture's counts are made of."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    positions: int
    layer: tuple[tuple[str, int, int], ...]
    """The linear layers of one layer: name, inputs, outputs."""
    layer_rest: int
    """Norms and biases of one layer."""
    rest: int
    """Norms after the last layer, and learned positions."""
    head_bias: int = 0

    def linears(self) -> Iterator[Linears]:
        for name, inputs, outputs in self.layer:
            yield Linears(name, inputs, outputs, self.layers)

    def parameters(self, *, tied: bool) -> int:
        in_layers = sum(inputs * outputs for _, inputs, outputs in self.layer) + self.layer_rest
        embeddings = self.vocab * self.hidden * (1 if tied else 2)
        return self.layers * in_layers + embeddings + self.rest + self.head_bias


def _llama_like(
    config: Mapping[str, Any],
    *,
    qkv_bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    norms: int = 2,
    head_norms: bool = False,
    whole_norms: bool = False,
    fused: bool = False,
) -> _Shape:
    """Rotary positions, RMS norms, a gated feed-forward part; `head_norms` are over a head's width,
    `whole_norms` over all heads at once; `fused` is Phi-3's two joined projections."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, intermediate = config["num_attention_heads"], config["intermediate_size"]
    kv_heads = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or hidden // heads
    query, key = heads * width, kv_heads * width
    if fused:
        attention = [("qkv_proj", hidden, query + 2 * key)]
        feed_forward = [("gate_up_proj", hidden, 2 * intermediate)]
    else:
        attention = [("q_proj", hidden, query), ("k_proj", hidden, key), ("v_proj", hidden, key)]
        feed_forward = [("gate_proj", hidden, intermediate), ("up_proj", hidden, intermediate)]
    biases = (query + 2 * key) * qkv_bias + hidden * out_bias + (2 * intermediate + hidden) * mlp_bias
    norm = norms * hidden + 2 * width * head_norms + (query + key) * whole_norms
    return _Shape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width,
        intermediate=intermediate,
        vocab=config["vocab_size"],
        positions=config.get("max_position_embeddings") or 0,
        layer=(
            *attention,
            ("o_proj", query, hidden),
            *feed_forward,
            ("down_proj", intermediate, hidden),
        ),
        layer_rest=biases + norm,
        rest=hidden,
    )


def _llama(config: Mapping[str, Any]) -> _Shape:
    bias = bool(config.get("attention_bias"))
    return _llama_like(config, qkv_bias=bias, out_bias=bias, mlp_bias=bool(config.get("mlp_bias")))


def _qwen3(config: Mapping[str, Any]) -> _Shape:
    bias = bool(config.get("attention_bias"))
    return _llama_like({"head_dim": 128, **config}, qkv_bias=bias, out_bias=bias, head_norms=True)


def _phi(config: Mapping[str, Any]) -> _Shape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    intermediate, width = config["intermediate_size"], hidden // heads
    key = kv_heads * width
    return _Shape(
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width,
        intermediate=intermediate,
        vocab=config["vocab_size"],
        positions=config.get("max_position_embeddings") or 0,
        layer=(
            ("q_proj", hidden, hidden),
            ("k_proj", hidden, key),
            ("v_proj", hidden, key),
            ("dense", hidden, hidden),
            ("fc1", hidden, intermediate),
            ("fc2", intermediate, hidden),
        ),
        layer_rest=2 * hidden + 2 * key + intermediate + hidden + 2 * hidden,
        rest=2 * hidden,
        head_bias=config["vocab_size"],
    )


def _classic(config: Mapping[str, Any], names: tuple[str, str, str, str], *, learned: int) -> _Shape:
    """One joined projection of attention, a plain feed-forward part, biases and layer norms everywhere."""
    hidden = config.get("hidden_size") or config["n_embd"]
    heads = config.get("num_attention_heads") or config["n_head"]
    positions = config.get("max_position_embeddings") or config.get("n_positions") or 0
    intermediate = config.get("intermediate_size") or config.get("n_inner") or 4 * hidden
    joined, out, up, down = names
    return _Shape(
        hidden=hidden,
        layers=config.get("num_hidden_layers") or config["n_layer"],
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=intermediate,
        vocab=config["vocab_size"],
        positions=positions,
        layer=(
            (joined, hidden, 3 * hidden),
            (out, hidden, hidden),
            (up, hidden, intermediate),
            (down, intermediate, hidden),
        ),
        layer_rest=5 * hidden + intermediate + 4 * hidden,
        rest=2 * hidden + learned * positions * hidden,
    )


def _opt(config: Mapping[str, Any]) -> _Shape:
    hidden, heads, ffn = config["hidden_size"], config["num_attention_heads"], config["ffn_dim"]
    if config.get("word_embed_proj_dim", hidden) != hidden:
        raise KeyError("projected embeddings")
    return _Shape(
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=ffn,
        vocab=config["vocab_size"],
        positions=config["max_position_embeddings"],
        layer=(
            *((name, hidden, hidden) for name in ("q_proj", "k_proj", "v_proj", "out_proj")),
            ("fc1", hidden, ffn),
            ("fc2", ffn, hidden),
        ),
        layer_rest=4 * hidden + ffn + hidden + 4 * hidden,
        # Two positions more than are used: an offset that its authors trained with.
        rest=2 * hidden + (config["max_position_embeddings"] + 2) * hidden,
    )


_NEOX_NAMES = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
_GPT2_NAMES = ("c_attn", "c_proj", "c_fc", "c_proj")
_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], _Shape]] = {
    "llama": _llama,
    "granite": _llama,
    "smollm3": _llama,
    "mistral": _llama_like,
    "qwen2": lambda config: _llama_like(config, qkv_bias=True),
    "qwen3": _qwen3,
    "gemma": lambda config: _llama_like({"head_dim": 256, **config}),
    "gemma2": lambda config: _llama_like({"head_dim": 256, **config}, norms=4),
    "gemma3_text": lambda config: _llama_like({"head_dim": 256, **config}, norms=4, head_norms=True),
    "olmo2": lambda config: _llama_like(config, whole_norms=True),
    "phi3": lambda config: _llama_like(config, fused=True),
    "phi": _phi,
    "gpt2": lambda config: _classic(config, _GPT2_NAMES, learned=1),
    "gpt_neox": lambda config: _classic(config, _NEOX_NAMES, learned=0),
    "opt": _opt,
}
_UNFUSED = frozenset({"gemma2"})
_TIED_BY_DEFAULT = frozenset({"gpt2", "opt", "gemma", "gemma2", "gemma3_text"})
