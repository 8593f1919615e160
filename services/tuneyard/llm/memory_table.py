"""The guide's comparison of memory by model size and method, beside what the formula says. Imports no torch.

The guide's figures are read so: one sample of 1024 tokens at a time, gradient checkpointing, bf16, adapters
as the guide recommends; in a full fine-tuning weights and gradients are in bf16 too, and AdamW's state
is on the host. Ours trains full models with fp32 weights and gradients and keeps AdamW's state on the device,
which is what `ours_full` counts; with 8-bit state it is `ours_full_8bit`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tuneyard.llm.catalogue import find
from tuneyard.llm.memory import DEVICE_BASE_BYTES, Workload, adapters_of
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import DEFAULT_MAX_LENGTH, preset_for

GUIDE = {"7B": (28, 16, 6), "13B": (52, 32, 10), "70B": (280, 160, 48)}
"""Full fine-tuning, LoRA and QLoRA, in GB of 10^9 bytes."""
_MODELS = {"7B": "llama-2-7b", "13B": "llama-2-13b", "70B": "llama-2-70b"}


@dataclass(frozen=True)
class Row:
    """A size of model; figures in GB of 10^9 bytes."""

    size: str
    guide: tuple[int, int, int]
    full: float
    """Under the guide's assumptions."""
    lora: float
    qlora: float
    ours_full: float
    ours_full_8bit: float
    adapter_megabytes: float

    @property
    def as_the_guide(self) -> tuple[float, float, float]:
        """The three figures that stand beside the guide's."""
        return self.full, self.lora, self.qlora


def rows() -> Iterator[Row]:
    """The table, smallest model first."""
    for size, name in _MODELS.items():
        known = find(name)
        assert known is not None
        yield _row(size, known.facts)


def as_markdown() -> str:
    """The table as the documentation shows it."""
    lines = [
        "| model | full: guide | predicted | LoRA: guide | predicted | QLoRA: guide | predicted | adapter |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows():
        pairs = (
            f"{guide} GB | {ours:.1f} GB" for guide, ours in zip(row.guide, row.as_the_guide, strict=True)
        )
        lines.append(f"| {row.size} | {' | '.join(pairs)} | {row.adapter_megabytes:.0f} MB |")
    lines += ["", "| model | full, AdamW | full, AdamW in 8 bits |", "|---|---|---|"]
    lines += [f"| {row.size} | {row.ours_full:.0f} GB | {row.ours_full_8bit:.0f} GB |" for row in rows()]
    return "\n".join(lines)


def _row(size: str, facts: ModelFacts) -> Row:
    adapters = adapters_of(facts, rank=preset_for(facts).lora_r)
    lora = Workload(
        facts=facts, adapters=adapters, batch_size=1, row_tokens=DEFAULT_MAX_LENGTH, checkpointing=True
    )
    full = replace(lora, adapters=None)
    return Row(
        size=size,
        guide=GUIDE[size],
        full=_guide_full_bytes(lora) / 1e9,
        lora=lora.device_bytes() / 1e9,
        qlora=replace(lora, bits=4).device_bytes() / 1e9,
        ours_full=full.device_bytes() / 1e9,
        ours_full_8bit=replace(full, optimizer="8bit").device_bytes() / 1e9,
        adapter_megabytes=adapters.file_bytes / 1e6,
    )


def _guide_full_bytes(lora: Workload) -> int:
    """bf16 weights and gradients, and the activations of a LoRA, whose adapters weigh next to nothing."""
    activations = lora.activation_bytes(on_cpu=False) + lora.passing_bytes(on_cpu=False)
    return DEVICE_BASE_BYTES + (2 + 2) * lora.facts.parameters + activations
