"""Predicts memory and disk of a fine-tuning from the sizes of its model. Imports no torch.

With t = batch x max_length tokens in a micro-batch, and b bytes of a number in the arithmetic (2, or 4 for
fp32), there are on the device, or on the host where the processor trains:

    weights      full: 4 P; LoRA: b P; QLoRA: the linear layers' weights at 0.5 or 1 byte and their scales
                 (bitsandbytes: a 4-byte one for 64 weights in 4 bits, nested 1 byte and a little; one for
                 each row in 8 bits), b for embeddings, head and norms
    adapters     4 T, T = sum of r (in + out) over the adapted layers
    gradients    4 T
    optimizer    8 T for AdamW's two moments, 4 T for momentum, 2 T in 8 bits
    activations  what autograd keeps for the backward pass: t x layers x a layer's tensors, as
                 `layer_token_bytes` counts them; with gradient checkpointing t x layers x the layer's input,
                 and one layer in whole
    attention    packed rows need a mask, which each layer keeps in the arithmetic's format: t x length x b
    passing      gradients of one layer's activations, and the logits of one chunk of tokens
    base         what the process and the libraries take before anything is loaded

The tensors were counted with autograd's hooks on saved tensors; what the processor takes beyond them was
measured (tests/benchmarks/llm_estimate.py, docs/memory.md).
"""

from dataclasses import dataclass, replace
from typing import Literal

from tuneyard.llm.loss_chunks import chunk_tokens
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.targets import ALL_LINEAR, default_targets, leaf
from tuneyard.trainer.workloads import STATE_BYTES, OptimizerKind, largest_batch

MIB = 1 << 20
DEVICE_BASE_BYTES = 700 * MIB
"""Of an accelerator: the driver's context, the libraries' kernels and their work space."""
HOST_BASE_BYTES = 520 * MIB
"""Of a worker on the host: torch, transformers and peft, before anything is loaded."""
CPU_HALF_BYTES = 130 * MIB
"""What the library of bf16 products keeps on the processor, by shapes rather than by sizes: measured."""
_CHUNK_COPIES = 2.5
"""The head's output, the fp32 logits that become their own gradient, and that in the arithmetic's format."""
_SCALE_BYTES = {False: 4 / 64, True: 1 / 64 + 4 / (64 * 256)}
"""Of one 4-bit weight, by whether the scales are quantised too (Dettmers et al. 2023, section 3)."""
_SHARING = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention"} | {
    "gate_proj": "feed-forward",
    "up_proj": "feed-forward",
}
"""Layers that get the same input, by what it is the input of."""
_ACTIVATION_TENSORS = {"gpt2": 4, "phi": 4}
"""What the tanh form of GELU keeps; other activations without a gate keep their input alone."""
_SAVED_DTYPE_BYTES = 2
"""Adapters are saved in the base's precision."""

_MANY = 1 << 16
"""A micro-batch beyond which none is asked about."""


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The low-rank matrices of a model."""

    parameters: int
    inputs: int
    """Widths of the adapted layers' inputs, added up over the model."""
    kept_inputs: int
    """The same, but what several layers share counted once: it is kept once."""
    ranks: int
    """Ranks, added up over the model."""
    dropout: bool = True
    dora: bool = False

    @property
    def file_bytes(self) -> int:
        """Of the saved adapter."""
        return _SAVED_DTYPE_BYTES * self.parameters


def adapters_of(
    facts: ModelFacts, *, rank: int, targets: tuple[str, ...] = (), dropout: bool = True, dora: bool = False
) -> Adapters:
    """The adapters that the target modules give; none where the names choose no layer."""
    leaves = {linear.name for linear in facts.linears}
    names = {leaf(name) for name in targets} or set(default_targets(leaves))
    chosen = [linear for linear in facts.linears if linear.name in names or ALL_LINEAR in names]
    magnitudes = sum(linear.outputs * linear.count for linear in chosen) if dora else 0
    shared = {_SHARING.get(linear.name, linear.name): linear.inputs * linear.count for linear in chosen}
    return Adapters(
        parameters=magnitudes
        + sum(rank * (linear.inputs + linear.outputs) * linear.count for linear in chosen),
        inputs=sum(linear.inputs * linear.count for linear in chosen),
        kept_inputs=sum(shared.values()),
        ranks=sum(rank * linear.count for linear in chosen),
        dropout=dropout,
        dora=dora,
    )


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What memory depends on."""

    facts: ModelFacts
    adapters: Adapters | None = None
    """None where every weight is trained."""
    bits: Literal[4, 8] | None = None
    """Of the base's linear layers, where they are quantised."""
    nested: bool = False
    half_precision: bool = True
    optimizer: OptimizerKind = "adamw"
    batch_size: int
    accumulates: bool = True
    """Whether gradients stay while another micro-batch is computed."""
    row_tokens: int
    """Of the longest row."""
    packed: bool = True
    checkpointing: bool = False

    @property
    def tokens(self) -> int:
        """In a micro-batch, padding included."""
        return self.batch_size * self.row_tokens

    @property
    def compute_bytes(self) -> int:
        """Of a number in the arithmetic's format."""
        return 2 if self.half_precision else 4

    @property
    def trained_parameters(self) -> int:
        """Those that the optimizer changes."""
        return self.adapters.parameters if self.adapters else self.facts.parameters

    @property
    def weight_bytes(self) -> int:
        """The base as it is held, without adapters."""
        facts = self.facts
        if self.adapters is None:
            return 4 * facts.parameters
        if self.bits is None:
            return self.compute_bytes * facts.parameters
        if self.bits == 4:
            linear = facts.linear_parameters * (0.5 + _SCALE_BYTES[self.nested])
        else:
            rows = sum(each.outputs * each.count for each in facts.linears)
            linear = facts.linear_parameters + 4 * rows
        return round(linear) + self.compute_bytes * facts.other_parameters

    @property
    def gradient_bytes(self) -> int:
        """All gradients of trained weights."""
        return 4 * self.trained_parameters

    @property
    def state_bytes(self) -> int:
        """What is there throughout a step: weights and the optimizer's state."""
        own = 4 * self.trained_parameters if self.adapters else 0
        return self.weight_bytes + own + STATE_BYTES[self.optimizer] * self.trained_parameters

    def layer_token_bytes(self, *, on_cpu: bool) -> int:
        """What autograd keeps of one token in one layer."""
        facts, number = self.facts, self.compute_bytes
        hidden, inner = facts.hidden_size, facts.intermediate_size
        query = facts.heads * facts.head_dim
        # With a mask, attention wants keys and values for each of the query's heads.
        key = query if self.packed else facts.kv_heads * facts.head_dim
        attention = number * (2 * query + 2 * key) + 4 * facts.heads
        if self.packed:
            attention += number * self.row_tokens
        if facts.attention_dropout and on_cpu:
            # Only the plain form of attention knows dropout there: scores, probabilities, what was dropped.
            attention += 3 * 4 * facts.heads * self.row_tokens
        elif not facts.fused_attention:
            # Scores, their softmax in fp32, and that in the format of the values.
            attention += (4 + 2 * number) * facts.heads * self.row_tokens
        activation = _ACTIVATION_TENSORS.get(facts.model_type, 1)
        if self.adapters is None:
            inner_tensors = 3 if facts.gated else activation
            copies = 5 * hidden * number if self.half_precision else 0
            return 16 * hidden + copies + attention + (inner_tensors + 1) * inner * number
        apart = any(linear.name == "gate_proj" for linear in facts.linears)
        inner_tensors = 2 if apart else 3 if facts.gated else activation
        norms = 2 * number * hidden
        return norms + attention + inner_tensors * inner * number + self._adapter_token_bytes(on_cpu=on_cpu)

    def _adapter_token_bytes(self, *, on_cpu: bool) -> int:
        """Of one layer: adapters keep their inputs as they get them, and of dropout a byte.

        With DoRA they keep them in fp32, dropped out, and the processor keeps what was dropped in fp32.
        """
        adapters = self.adapters
        if adapters is None:
            return 0
        if adapters.dora:
            noise = (4 if on_cpu else 1) if adapters.dropout else 0
            kept = (4 + noise) * adapters.inputs
        else:
            kept = self.compute_bytes * adapters.kept_inputs + adapters.inputs * adapters.dropout
        return round((kept + 4 * adapters.ranks) / self.facts.layers)

    def activation_bytes(self, *, on_cpu: bool) -> int:
        """Everything that a micro-batch keeps between its forward and its backward pass."""
        facts = self.facts
        layer = self.layer_token_bytes(on_cpu=on_cpu)
        residual = (4 if self.adapters is None else self.compute_bytes) * facts.hidden_size
        per_token = residual * facts.layers + layer if self.checkpointing else layer * facts.layers
        ends = (8 + 3 * self.compute_bytes) * facts.hidden_size
        copies = 0
        if self.adapters is None and self.half_precision:
            # Autocast keeps each weight in the arithmetic's format as well, until its backward pass.
            share = 1 / facts.layers if self.checkpointing else 1
            copies = round(2 * facts.linear_parameters * share)
        return self.tokens * (per_token + ends) + copies

    def passing_bytes(self, *, on_cpu: bool) -> int:
        """What comes and goes: one layer's gradients, a weight that is dequantised, a chunk of logits."""
        facts, number = self.facts, self.compute_bytes
        layer = self.tokens * number * (3 * facts.intermediate_size + 4 * facts.hidden_size)
        widest = max((each.inputs * each.outputs for each in facts.linears), default=0)
        dequantised = widest * number if self.bits else 0
        chunk = min(self.tokens, chunk_tokens(facts.vocab_size, on_cpu=on_cpu))
        logits = 4 * chunk * facts.vocab_size * _CHUNK_COPIES
        head = facts.vocab_size * facts.hidden_size * 6 if self.adapters is None else 0
        # Without fused attention, gradients of one layer's scores: three in fp32 and three in the format.
        scores = 0 if facts.fused_attention else self.tokens * facts.heads * self.row_tokens
        return layer + dequantised + round(logits) + head + scores * (12 + 3 * number)

    def step_bytes(self, *, on_cpu: bool) -> int:
        """What a step needs beside `state_bytes`."""
        kept = self.activation_bytes(on_cpu=on_cpu)
        # Without accumulation each layer's gradient comes as its activations go.
        both = kept + self.gradient_bytes if self.accumulates else max(kept, self.gradient_bytes)
        return both + self.passing_bytes(on_cpu=on_cpu)

    def device_bytes(self) -> int:
        """The peak on an accelerator."""
        return DEVICE_BASE_BYTES + self.state_bytes + self.step_bytes(on_cpu=False)

    def host_bytes(self, *, on_cpu: bool) -> int:
        """The peak of the worker's own memory on the host."""
        if on_cpu:
            libraries = HOST_BASE_BYTES + (CPU_HALF_BYTES if self.half_precision else 0)
            return libraries + self.state_bytes + self.step_bytes(on_cpu=True)
        # A checkpoint's weights pass through the host in whole, and so does the optimizer's state.
        return HOST_BASE_BYTES + max(4, STATE_BYTES[self.optimizer]) * self.trained_parameters

    def need(self, *, on_cpu: bool) -> int:
        """What decides whether the job fits where it trains."""
        return self.host_bytes(on_cpu=True) if on_cpu else self.device_bytes()

    def largest_batch_size(self, limit_bytes: int, *, on_cpu: bool) -> int:
        """The largest micro-batch within a limit; 0 if not even one sample fits."""
        return largest_batch(
            limit_bytes,
            need_of=lambda size: replace(self, batch_size=size).need(on_cpu=on_cpu),
            most=_MANY,
        )

    def checkpoint_bytes(self) -> int:
        """A checkpoint: trained weights, the best ones beside them, and the optimizer's state."""
        return (8 + STATE_BYTES[self.optimizer]) * self.trained_parameters

    def artifact_bytes(self) -> int:
        """What is stored at the end: the adapter, or the model in the precision that it was published in."""
        if self.adapters:
            return self.adapters.file_bytes
        return self.facts.dtype_bytes * self.facts.parameters
