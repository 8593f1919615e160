"""Out of memory in a training step: repeat it with smaller micro-batches over the same samples. Imports no
torch.

A recipe hands over one effective batch at a time; what must be as before when the step is repeated (random
state, buffers such as batch norm's, gradients) is its own to snapshot and restore. The position in the data
never moves, because the samples of the step were chosen before it began.
"""

import gc
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES, RecipeError
from tuneyard.trainer.run import AdviceKind, Run


class Sliceable(Protocol):
    """Samples, or their indices: a list, an array, a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


S = TypeVar("S", bound=Sliceable)
State = TypeVar("State")
R = TypeVar("R")

_ALLOCATION_FAILED = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not create a memory object",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the host's or the device's, did not suffice.

    torch's own type is known by its name, so that torch need not be imported; failures of the CPU allocator
    and of CUDA's libraries are plain RuntimeErrors with a known text.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ALLOCATION_FAILED)


def free_memory() -> None:
    """Gives back what nobody uses: unreachable objects, and the blocks that torch keeps of the device's
    memory.

    Where an error is being handled, its traceback would keep all that the calls had at hand which it ended:
    they let go of that.
    """
    handled, seen = [sys.exc_info()[1]], set[int]()
    while handled:
        error = handled.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)
            handled += [error.__context__, error.__cause__]
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class MicroBatching:
    """How an effective batch is cut into micro-batches, and the smaller cut after an out-of-memory error.

    `batch_size` and `gradient_accumulation_steps` are those in force; their product, the samples per step,
    is what the spec asked for, but for a last micro-batch that is shorter where halving did not divide
    evenly.
    """

    def __init__(
        self,
        run: Run,
        *,
        batch_size: int,
        gradient_accumulation_steps: int = 1,
        remedies: tuple[str, ...] = OUT_OF_MEMORY_REMEDIES,
    ) -> None:
        """Begins with as many halvings as earlier attempts came to. `remedies` are those of the task."""
        self._run = run
        self._remedies = remedies
        self.samples_per_step = batch_size * gradient_accumulation_steps
        self.batch_size = batch_size
        for _ in range(run.micro_batch_halvings):
            self.batch_size = max(1, self.batch_size // 2)

    @property
    def gradient_accumulation_steps(self) -> int:
        """Micro-batches of a full step."""
        return -(-self.samples_per_step // self.batch_size)

    def cut(self, samples: S) -> list[S]:
        """The samples of one step as micro-batches, in order, each exactly once."""
        starts = range(0, len(samples), self.batch_size)
        return [cast(S, samples[start : start + self.batch_size]) for start in starts]

    def run_step(
        self,
        step: int,
        samples: S,
        work: Callable[[S, float], R],
        *,
        snapshot: Callable[[], State],
        restore: Callable[[State], None],
    ) -> list[R]:
        """Runs forward and backward over one effective batch and returns what `work` did, by micro-batch.

        `work(micro_batch, weight)` computes the micro-batch's mean loss times `weight`, its share of the
        samples, and adds to the gradients. `snapshot` is called before the first; `restore` puts its value
        back and drops the gradients before the step is repeated. Raises RecipeError OUT_OF_MEMORY where a
        single sample does not fit. Errors of the optimizer's update do not belong here: see
        `optimizer_step`.
        """
        state = snapshot()
        while True:
            results, failed = self._attempt(samples, work)
            if not failed:
                return results
            results.clear()
            restore(state)
            free_memory()
            self._halve(step, failed)

    def _attempt(self, samples: S, work: Callable[[S, float], R]) -> tuple[list[R], int]:
        """The results and 0, or the size of the micro-batch that did not fit.

        The error ends here: its traceback would keep the step's tensors alive.
        """
        results: list[R] = []
        for piece in self.cut(samples):
            try:
                results.append(work(piece, len(piece) / len(samples)))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                return results, len(piece)
        return results, 0

    def _halve(self, step: int, failed: int) -> None:
        """Halves until the micro-batch is smaller than the one that failed; each halving is told."""
        if failed <= 1:
            message = "Even a micro-batch of one sample does not fit into memory."
            raise out_of_memory_error(message, remedies=self._remedies)
        while self.batch_size >= failed:
            old = self.batch_size
            self.batch_size = old // 2
            self._run.out_of_memory_recovered(
                step=step,
                old_batch_size=old,
                new_batch_size=self.batch_size,
                gradient_accumulation_steps=self.gradient_accumulation_steps,
            )
        self._run.advise(
            AdviceKind.MEMORY,
            observation=f"Memory ran out at step {step}. From here on {self.batch_size} samples are computed"
            " at a time: each step still sees as many as before, but takes longer.",
            remedies=self._remedies,
            changes={
                "hyperparameters.batch_size": self.batch_size,
                "hyperparameters.gradient_accumulation_steps": self.gradient_accumulation_steps,
            },
        )


class OptimizerOutOfMemory(Exception):
    """Memory ran out while the optimizer changed weights, which cannot be undone in place.

    The worker leaves without an end, and the platform resumes from the newest checkpoint at half the
    micro-batch.
    """


def optimizer_step(update: Callable[[], R]) -> R:
    """Calls the optimizer's update; raises OptimizerOutOfMemory where memory runs out in it."""
    try:
        return update()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    raise OptimizerOutOfMemory


def out_of_memory_error(message: str, *, remedies: tuple[str, ...] = OUT_OF_MEMORY_REMEDIES) -> RecipeError:
    """The error that a user reads when memory ran out; without a task's own remedies, with the guide's."""
    return RecipeError(message, reason="OUT_OF_MEMORY", remedies=remedies)
