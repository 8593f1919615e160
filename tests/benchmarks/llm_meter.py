"""What every contender of the language-model benchmark notes: losses, seconds and memory of each step."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

WARMUP_STEPS = 2
_EVERY_SECONDS = 0.02


def anonymous_bytes() -> int:
    """Memory of this process that no file backs: what a training allocates, mapped weights left out."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no RssAnon")


class Meter:
    """Steps after a few to warm up are timed; their peak memory is taken above that of the loaded model."""

    def __init__(self, tokens: Sequence[int], *, device: str = "cpu") -> None:
        """`tokens` are the useful ones of each step."""
        self._tokens = tokens
        self._device = device
        self._ends: list[float] = []
        self._losses: list[float] = []
        self._loaded_bytes = self._peak_bytes = 0
        self._done = threading.Event()

    def loaded(self) -> None:
        """The model is in memory, and nothing else is."""
        self._loaded_bytes = self._used()

    def step_done(self, loss: float) -> None:
        """One optimizer step more."""
        self._losses.append(loss)
        self._ends.append(time.perf_counter())
        if len(self._ends) == WARMUP_STEPS:
            self._watch_memory()
        if len(self._ends) == len(self._tokens):
            self._done.set()

    def tell(self) -> None:
        """Prints what was found as one line of JSON."""
        seconds = [end - begun for begun, end in zip(self._ends, self._ends[1:], strict=False)]
        timed = list(zip(self._tokens[1:], seconds, strict=True))[WARMUP_STEPS - 1 :]
        found = {
            "tokens_per_second": sum(tokens for tokens, _ in timed) / sum(second for _, second in timed),
            "median_step_seconds": median(second for _, second in timed),
            "losses": self._losses,
            "peak_bytes": self._peak() - self._loaded_bytes,
            "loaded_bytes": self._loaded_bytes,
        }
        sys.stdout.write(json.dumps(found) + "\n")

    def _watch_memory(self) -> None:
        """An accelerator keeps its peak itself; the processor's is looked at now and then."""
        if self._device == "cpu":
            threading.Thread(target=self._sample, daemon=True).start()
            return
        import torch

        torch.cuda.reset_peak_memory_stats()

    def _sample(self) -> None:
        while not self._done.wait(_EVERY_SECONDS):
            self._peak_bytes = max(self._peak_bytes, self._used())

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
