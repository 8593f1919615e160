"""What memory, time and settings depend on of a text-to-image pipeline: its sizes, counted without weights.

Imports no torch: a converter that has the libraries at hand makes the facts (`meta_facts`) and stores them
with the model as JSON; those of the catalogue's pipelines stand there.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tuneyard.diffusion.safe_pipeline import NETWORKS, Kind


@dataclass(frozen=True, slots=True)
class Linears:
    """Linear layers of one name and shape in a network."""

    name: str
    """The end of their path, by which adapters name them: "to_q", "to_out.0"."""
    inputs: int
    outputs: int
    count: int


@dataclass(frozen=True, slots=True)
class Activations:
    """What one image keeps for its backward pass: bytes, affine in the positions of its latent."""

    fixed: int
    each: float
    """Bytes a position of the latent."""
    checkpointed_fixed: int
    checkpointed_each: float
    """With gradient checkpointing: the blocks' inputs, and one block in whole."""

    def bytes(self, positions: int, *, checkpointing: bool) -> int:
        """Of an image whose latent has so many positions."""
        if checkpointing:
            return round(self.checkpointed_fixed + self.checkpointed_each * positions)
        return round(self.fixed + self.each * positions)


@dataclass(frozen=True, kw_only=True)
class PipelineFacts:
    """A text-to-image pipeline."""

    kind: Kind
    resolution: int
    """The side, in px, that the published weights draw."""
    latent_scale: int
    """Pixels a side that one position of the latent stands for."""
    latent_channels: int
    denoiser_parameters: int
    """Of the UNet or the transformer."""
    vae_parameters: int
    vae_width: int
    """Channels of the VAE's widest tensors at full size."""
    text_parameters: int
    """Of all text encoders together."""
    text_tokens: int
    """How many tokens of a caption they read."""
    text_token_bytes: int
    """What the first text encoders keep of one token for a backward pass, in float32."""
    dtype_bytes: int
    """Of a weight as it is stored."""
    position_operations: float
    """Floating-point operations that the denoiser's forward pass takes for one position of a latent, at the
    published resolution."""
    linears: tuple[Linears, ...]
    """Of the denoiser."""
    text_linears: tuple[Linears, ...]
    """Of those text encoders that can be adapted."""
    half: Activations
    """In bf16 or fp16."""
    full: Activations
    """In fp32."""

    @property
    def parameters(self) -> int:
        """Of everything."""
        return self.denoiser_parameters + self.vae_parameters + self.text_parameters

    def positions(self, resolution: int) -> int:
        """Of the latent of a square image."""
        side = max(1, resolution // self.latent_scale)
        return side * side

    def to_json(self) -> str:
        """The facts as JSON, sorted, so that equal facts are equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The facts again. Fields that are not known here are left out; ValueError where one is missing."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("the facts of a pipeline are an object")
        known = {field.name for field in fields(cls)}
        try:
            made: dict[str, Any] = {name: value for name, value in found.items() if name in known}
            for name in ("linears", "text_linears"):
                made[name] = tuple(Linears(**linear) for linear in made[name])
            for name in ("half", "full"):
                made[name] = Activations(**made[name])
            facts = cls(**made)
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no facts of a pipeline: {error}") from error
        if facts.kind not in NETWORKS:
            raise ValueError(f"there is no kind {facts.kind!r} of pipelines")
        return facts
