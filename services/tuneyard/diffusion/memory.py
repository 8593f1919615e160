"""Predicts memory and disk of training LoRA weights from the sizes of a pipeline. Imports no torch.

With b bytes of a number in the arithmetic (2, or 4 for fp32) and n images in a micro-batch, there are on the
device, or on the host where the processor trains:

    weights      b x those of the denoiser; the VAE's (4 bytes each) and the text encoders' only where they
                 stay: without a cache, and the text encoders where they are adapted
    adapters     4 T, T = sum of r (in + out) over the adapted layers; 4 T more for a moving average
    gradients    4 T
    optimizer    8 T for AdamW's two moments, 4 T for momentum, 2 T in 8 bits
    activations  n x what autograd keeps of an image: counted with its hooks on the meta device when a
                 pipeline is imported (`meta_facts`), for each arithmetic, with gradient checkpointing and not
    passing      gradients and work space of the layers at hand: a share of an image's activations
    base         what the process and the libraries take before anything is loaded

Other phases have peaks of their own: computing latents and embeddings before the first step, decoding sample
pictures beside the training, and scoring them by a CLIP model in fp32 after the VAE has left. What the
processor takes beyond the counts was measured (tests/benchmarks/diffusion_estimate.py, docs/memory.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tuneyard.diffusion.pipeline_facts import Linears, PipelineFacts
from tuneyard.trainer.workloads import STATE_BYTES, OptimizerKind, largest_batch

MIB = 1 << 20
DEVICE_BASE_BYTES = 800 * MIB
"""Of an accelerator: the driver's context, the libraries' kernels, and convolutions' work space."""
HOST_BASE_BYTES = 620 * MIB
"""Of a worker on the host: torch, diffusers, transformers and peft (530 MiB before anything is loaded), and
what libraries of products and convolutions keep by shapes: fitted to what was measured."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""What is adapted where no layers are named; the last four only transformers have."""
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
ALL_LINEAR = "all-linear"
OUTSIDE_OF_BLOCKS = frozenset(
    {"linear_1", "linear_2", "time_emb_proj", "context_embedder", "text_projection"}
)
"""Which "all-linear" does not reach."""
_PASSING = 0.2
"""Of an image's activations: the widest layers' gradients, and copies between layouts."""
_DECODED_TENSORS = 4
"""Of the VAE's widest ones that are held at once while it encodes or decodes, in fp32."""
_MANY = 1 << 12
"""A micro-batch beyond which none is asked about."""
_SAMPLED_AT_ONCE = 2
"""Images that are denoised together for guidance."""
_REPORT_BYTES = 24 << 20
"""Of sample pictures, card and curves."""


def adapter_parameters(
    linears: Iterable[Linears], *, rank: int, targets: tuple[str, ...], dora: bool = False
) -> int:
    """Weights of the adapters of those layers that the targets name."""
    chosen = [each for each in linears if is_chosen(each.name, targets)]
    magnitudes = sum(each.outputs * each.count for each in chosen) if dora else 0
    return magnitudes + sum(rank * (each.inputs + each.outputs) * each.count for each in chosen)


def is_chosen(name: str, targets: tuple[str, ...]) -> bool:
    """Whether the targets, names of modules or their ends, name a layer."""
    if ALL_LINEAR in targets:
        return name not in OUTSIDE_OF_BLOCKS
    return any(name == each or each.endswith(f".{name}") for each in targets)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What memory depends on."""

    facts: PipelineFacts
    adapters: int
    """Weights of the denoiser's adapters."""
    text_adapters: int = 0
    """Weights of the text encoders' adapters; 0 where these stay as they are."""
    half_precision: bool = True
    optimizer: OptimizerKind = "adamw"
    batch_size: int
    resolution: int
    checkpointing: bool = False
    cached: bool = True
    """Whether latents are computed ahead, and the VAE leaves."""
    cached_texts: bool = True
    """Whether captions are encoded ahead, and the text encoders leave."""
    ema: bool = False
    clip_parameters: int = 0
    """Of the CLIP model that scores sample pictures; 0 without one."""

    @property
    def number(self) -> int:
        """Bytes of a number in the arithmetic's format."""
        return 2 if self.half_precision else 4

    @property
    def trained_parameters(self) -> int:
        """Those that the optimizer changes."""
        return self.adapters + self.text_adapters

    @property
    def weight_bytes(self) -> int:
        """The frozen weights that are held while it trains."""
        facts, weights = self.facts, self.number * self.facts.denoiser_parameters
        if not self.cached:
            weights += 4 * facts.vae_parameters
        if self.text_adapters or not self.cached_texts:
            weights += self.number * facts.text_parameters
        return weights

    @property
    def state_bytes(self) -> int:
        """What is there throughout a step."""
        copies = 4 + 4 + STATE_BYTES[self.optimizer] + 4 * self.ema
        return self.weight_bytes + copies * self.trained_parameters

    @property
    def _positions(self) -> int:
        return self.facts.positions(self.resolution)

    def activation_bytes(self) -> int:
        """Everything that a micro-batch keeps between its forward and its backward pass."""
        facts = self.facts
        kept = facts.half if self.half_precision else facts.full
        image = kept.bytes(self._positions, checkpointing=self.checkpointing)
        if self.text_adapters:
            image += facts.text_tokens * facts.text_token_bytes
        return self.batch_size * image

    def passing_bytes(self) -> int:
        """What comes and goes within a step."""
        kept = self.facts.half if self.half_precision else self.facts.full
        share = kept.checkpointed_each if self.checkpointing else kept.each
        return round(_PASSING * share * self._positions * self.batch_size)

    def picture_bytes(self, images: int = 1) -> int:
        """What the VAE needs at once to encode or decode images, beside its weights."""
        return images * _DECODED_TENSORS * 4 * self.facts.vae_width * self.resolution**2

    def _phases(self) -> int:
        """The largest of what the phases need."""
        facts = self.facts
        step = self.state_bytes + self.activation_bytes() + self.passing_bytes()
        if not self.cached:
            step = max(step, self.state_bytes + self.picture_bytes(self.batch_size))
        coders = 4 * facts.vae_parameters + self.number * facts.text_parameters
        kept = facts.half if self.half_precision else facts.full
        denoising = round(_SAMPLED_AT_ONCE * _PASSING * kept.each * self._positions)
        samples = self.state_bytes + max(denoising, self.picture_bytes()) + 4 * facts.vae_parameters
        scores = self.state_bytes + 4 * self.clip_parameters
        return max(step, coders + self.picture_bytes(), samples, scores)

    def device_bytes(self) -> int:
        """The peak on an accelerator."""
        return DEVICE_BASE_BYTES + self._phases()

    def host_bytes(self, *, on_cpu: bool) -> int:
        """The peak of the worker's own memory on the host."""
        if on_cpu:
            return HOST_BASE_BYTES + self._phases()
        # Trained weights and the optimizer's state pass through the host in whole.
        return HOST_BASE_BYTES + max(4, STATE_BYTES[self.optimizer]) * self.trained_parameters

    def need(self, *, on_cpu: bool) -> int:
        """What decides whether the job fits where it trains."""
        return self.host_bytes(on_cpu=True) if on_cpu else self.device_bytes()

    def largest_batch_size(self, limit_bytes: int, *, on_cpu: bool) -> int:
        """The largest micro-batch within a limit; 0 if not even one image fits."""
        return largest_batch(
            limit_bytes,
            need_of=lambda size: replace(self, batch_size=size).need(on_cpu=on_cpu),
            most=_MANY,
        )

    def checkpoint_bytes(self) -> int:
        """A checkpoint: trained weights, the best ones, their moving average, the optimizer's state."""
        return (8 + 4 * self.ema + STATE_BYTES[self.optimizer]) * self.trained_parameters

    def artifact_bytes(self) -> int:
        """What is stored at the end: the weights by two sets of names, and pictures."""
        return 2 * 4 * self.trained_parameters + _REPORT_BYTES

    def cache_bytes(self, images: int) -> int:
        """Latents and embeddings of so many images on disk."""
        facts = self.facts
        latents = 4 * facts.latent_channels * self._positions
        # A bound: embeddings are as wide as the denoiser's widest input of text.
        widest = max(
            (each.inputs for each in facts.linears if each.name in ("to_k", "context_embedder")), default=0
        )
        return images * (latents + 4 * facts.text_tokens * widest) if self.cached else 0
