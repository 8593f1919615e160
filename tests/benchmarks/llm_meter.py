"""What every contender of the language-model benchmark notes: losses, seconds and memory of each step."""

import threading
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.lockstep import Pace

WARMUP_STEPS = 2
_EVERY_SECONDS = 0.02


def anonymous_bytes() -> int:
    """Memory of this process that no file backs: what a training allocates, mapped weights left out."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no RssAnon")


class Meter(Pace):
    """Turns of one step; after a few to warm up, the peak memory above that of the loaded model is taken."""

    def __init__(self, *, steps: int, device: str = "cpu") -> None:
        super().__init__(steps=steps, steps_a_turn=1, device=device)
        self._loaded_bytes = self._peak_bytes = 0
        self._at_work = threading.Event()

    def loaded(self) -> None:
        """The model is in memory, and nothing else is."""
        self._loaded_bytes = self._used()

    def step_done(self) -> None:
        """One optimizer step more; memory is not looked at while others train."""
        self._at_work.clear()
        super().step_done()
        if self.done == WARMUP_STEPS:
            self._watch_memory()
        self._at_work.set()

    def end(self, losses: Mapping[int, float], **noted: float) -> None:
        """Tells the losses, and the bytes above the model."""
        super().end(losses, peak_bytes=self._peak() - self._loaded_bytes, **noted)

    def _watch_memory(self) -> None:
        """An accelerator keeps its peak itself; the processor's is looked at now and then."""
        if self._device == "cpu":
            threading.Thread(target=self._sample, daemon=True).start()
            return
        import torch

        torch.cuda.reset_peak_memory_stats()

    def _sample(self) -> None:
        pause = threading.Event()
        while self.done < self.steps:
            self._at_work.wait()
            self._peak_bytes = max(self._peak_bytes, self._used())
            pause.wait(_EVERY_SECONDS)

    def _used(self) -> int:
        if self._device == "cpu":
            return anonymous_bytes()
        import torch

        return torch.cuda.memory_allocated()

    def _peak(self) -> int:
        if self._device == "cpu":
            return self._peak_bytes
        import torch

        return torch.cuda.max_memory_allocated()
