"""Predicts memory and disk of a classifier's training from the table of architectures. Imports no torch.

On the device, or on the host where the processor trains:

    4 P            weights at float32
  + 4 T            gradients of the trained weights
  + 8 T or 4 T     AdamW's two moments, or SGD's momentum
  + 4 P            the moving average, if there is one
  + A x B x f      activations: A bytes of one sample at float32 (measured, grows with the area), B samples
  + base           what the process and the libraries take before anything is trained

f is 1.25 at float32, for the gradients of activations that live beside them, and 0.8 with 16-bit autocast;
gradient checkpointing keeps about two thirds (convolutional nets are largest in their first, unchecked
layers); a frozen backbone keeps nothing for its backward pass but still needs room for the largest layers,
about a tenth. The best weights (4 P) are kept on the host. On the processor, seven trainings of three steps
(resnet50, resnet18, mobilenet_v3_small, efficientnet_b0, vit_b_16; 224 px; both precisions) reached 0.82 to
0.97 of the prediction, without that copy.
"""

from dataclasses import dataclass, replace

from tuneyard.vision.architectures import Architecture

HOST_BASE_BYTES = 500 << 20
DEVICE_BASE_BYTES = 700 << 20
_HALF, _FULL = 0.8, 1.25
_CHECKPOINTED, _FROZEN = 0.65, 0.1


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What memory depends on."""

    architecture: Architecture
    classes: int
    image_size: int
    batch_size: int
    adamw: bool
    half_precision: bool
    frozen_backbone: bool
    gradient_checkpointing: bool
    average: bool

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.architecture.parameters_for(self.classes)

    @property
    def trained_parameters(self) -> int:
        """Those that the optimizer changes."""
        head = self.classes * self.architecture.parameters_per_class
        return head if self.frozen_backbone else self.parameters

    @property
    def state_bytes(self) -> int:
        """Weights, gradients, optimizer and average: what does not depend on the batch."""
        per_trained = 4 + (8 if self.adamw else 4)
        return (8 if self.average else 4) * self.parameters + per_trained * self.trained_parameters

    @property
    def sample_bytes(self) -> int:
        """What one more sample in the micro-batch takes."""
        factor = _HALF if self.half_precision else _FULL
        if self.frozen_backbone:
            factor *= _FROZEN
        elif self.gradient_checkpointing:
            factor *= _CHECKPOINTED
        return round(self.architecture.activation_bytes_at(self.image_size) * factor)

    def device_bytes(self) -> int:
        """The peak on an accelerator."""
        return DEVICE_BASE_BYTES + self.state_bytes + self.sample_bytes * self.batch_size

    def host_bytes(self, *, on_cpu: bool) -> int:
        """The peak of the worker's own memory on the host."""
        kept = HOST_BASE_BYTES + 4 * self.parameters
        if on_cpu:
            return kept + self.state_bytes + self.sample_bytes * self.batch_size
        # While a checkpoint is written, everything in it is on the host once.
        return kept + self.state_bytes

    def largest_batch_size(self, limit_bytes: int, *, on_cpu: bool) -> int:
        """The largest micro-batch within a limit; 0 if not even one sample fits."""
        single = replace(self, batch_size=0)
        fixed = single.host_bytes(on_cpu=True) if on_cpu else single.device_bytes()
        return max(0, (limit_bytes - fixed) // max(1, self.sample_bytes))

    def checkpoint_bytes(self) -> int:
        """A checkpoint: weights, optimizer, average and best weights."""
        moments = (8 if self.adamw else 4) * self.trained_parameters
        return (12 if self.average else 8) * self.parameters + moments
