"""Predicts memory and disk of a training from the tables of architectures. Imports no torch.

On the device, or on the host where the processor trains:

    4 P            weights at float32
  + 4 T            gradients of the trained weights
  + 8 T or 4 T     AdamW's two moments, or SGD's momentum
  + 4 P            the moving average, if there is one
  + A x B x f      activations: A bytes of one sample at float32 (measured, grows with the area), B samples
  + base           what the process and the libraries take before anything is trained

f is measured (see tests/benchmarks/estimate.py): gradients of activations live beside them, and 16-bit
autocast keeps some activations twice. The best weights (4 P) are kept on the host.
"""

from dataclasses import dataclass, replace

DEVICE_BASE_BYTES = 700 << 20
"""Of an accelerator: the driver's context, the libraries' kernels and their work space."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What was measured of one recipe on the processor."""

    host_base_bytes: int
    """A worker's own memory before it trains."""
    full: float
    """f at float32."""
    half: float
    """f with 16-bit autocast."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What memory depends on."""

    factors: Factors
    parameters: int
    trained_parameters: int
    """Those that the optimizer changes."""
    activation_bytes: int
    """Of one sample at float32, everything kept for the backward pass."""
    kept_share: float = 1.0
    """How much of the activations is kept at once: less with gradient checkpointing or frozen layers."""
    batch_size: int
    adamw: bool
    half_precision: bool
    average: bool

    @property
    def state_bytes(self) -> int:
        """Weights, gradients, optimizer and average: what does not depend on the batch."""
        per_trained = 4 + (8 if self.adamw else 4)
        return (8 if self.average else 4) * self.parameters + per_trained * self.trained_parameters

    @property
    def sample_bytes(self) -> int:
        """What one more sample in the micro-batch takes."""
        factor = self.factors.half if self.half_precision else self.factors.full
        return round(self.activation_bytes * factor * self.kept_share)

    def device_bytes(self) -> int:
        """The peak on an accelerator."""
        return DEVICE_BASE_BYTES + self.state_bytes + self.sample_bytes * self.batch_size

    def host_bytes(self, *, on_cpu: bool) -> int:
        """The peak of the worker's own memory on the host."""
        kept = self.factors.host_base_bytes + 4 * self.parameters
        if on_cpu:
            return kept + self.state_bytes + self.sample_bytes * self.batch_size
        # While a checkpoint is written, everything in it is on the host once.
        return kept + self.state_bytes

    def need(self, *, on_cpu: bool) -> int:
        """What decides whether the job fits where it trains."""
        return self.host_bytes(on_cpu=True) if on_cpu else self.device_bytes()

    def largest_batch_size(self, limit_bytes: int, *, on_cpu: bool) -> int:
        """The largest micro-batch within a limit; 0 if not even one sample fits."""
        fixed = replace(self, batch_size=0).need(on_cpu=on_cpu)
        return max(0, (limit_bytes - fixed) // max(1, self.sample_bytes))

    def checkpoint_bytes(self) -> int:
        """A checkpoint: weights, optimizer, average and best weights."""
        moments = (8 if self.adamw else 4) * self.trained_parameters
        return (12 if self.average else 8) * self.parameters + moments
