"""What the estimate of any vision task is made from; a task's own module fills it in. Imports no torch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tuneyard.trainer.estimates import Offer
from tuneyard.v1 import errors_pb2, training_pb2
from tuneyard.vision.facts import DataFacts
from tuneyard.vision.memory import Workload


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training job before it is weighed."""

    resolved: training_pb2.TrainingSpec
    facts: DataFacts | None
    """None while the dataset is not validated."""
    violations: Sequence[errors_pb2.FieldViolation]
    warnings: Sequence[errors_pb2.FieldViolation]
    workload: Workload
    """At float32."""
    multiply_adds: int
    """Of one forward pass of one sample."""
    stored_pixels: int
    """Of one decoded sample in the trainer's cache."""
    offers: Callable[[Workload], Iterable[Offer[Workload]]]
    """Changes beside a smaller batch, given the workload at its precision, in the order to try them."""

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        hyper = self.resolved.hyperparameters
        return hyper.batch_size * hyper.gradient_accumulation_steps

    @property
    def total_steps(self) -> int:
        """Optimizer steps; 0 while they depend on data that is not known yet."""
        hyper = self.resolved.hyperparameters
        if hyper.HasField("max_steps"):
            return hyper.max_steps
        if self.facts is None:
            return 0
        return hyper.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """0 while the data is not known."""
        return -(-self.facts.train_samples // self.effective_batch_size) if self.facts else 0
