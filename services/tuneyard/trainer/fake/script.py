"""The script in a base model's name: "fake:steps=200,step_ms=5,save=20"."""

from dataclasses import dataclass, fields
from typing import Self

SCHEME = "fake:"


class ScriptError(ValueError):
    """The name is not a script that can be followed."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a fake run does. Every value is a whole number; 0 turns a thing off."""

    steps: int = 100
    """Optimizer steps, where the spec says neither epochs nor steps."""
    step_ms: int = 0
    """How long a step sleeps."""
    hurry: int = 0
    """Steps at the beginning that do not sleep."""
    save: int = 0
    """Steps between checkpoints, where the spec says nothing."""
    eval: int = 0
    """Steps between evaluations, where the spec says nothing."""
    samples: int = 64
    """Size of the imagined dataset."""
    size: int = 64
    """Number of weights."""
    sample: int = 0
    """Steps between text samples; the first one comes with a picture."""
    log: int = 0
    """Lines of log per step."""
    probe: int = 0
    """Report a metric at every step that is never thinned out."""
    dataset: int = 0
    """Fetch and unpack the real dataset."""
    save_ms: int = 0
    """How long writing a checkpoint takes."""
    prepare_ms: int = 0
    """How long the preparation takes; it can be stopped."""
    finalize_ms: int = 0
    """How long the work after the last step takes."""
    artifact_bytes: int = 0
    """Size of an extra artifact."""
    checkpoint_bytes: int = 0
    """Size of an extra file in each checkpoint."""
    advise_at: int = 0
    """The step at which an advice and a warning are given."""
    crash_at: int = 0
    """The step at which the process kills itself."""
    crash_attempts: int = 1
    """How many of the first attempts crash."""
    oom_at: int = 0
    """The step whose first micro-batch runs out of memory, once an attempt."""
    oom_above: int = 0
    """The largest micro-batch that fits."""
    optimizer_oom_at: int = 0
    """The step whose update runs out of memory, in the first attempt."""
    fail_at: int = 0
    """The step at which the recipe gives up with a clean error."""
    raise_at: int = 0
    """The step at which the recipe raises something unexpected, with a path in its text."""
    hang_at: int = 0
    """The step that never ends."""
    ignore_cancel: int = 0
    """Go on when asked to cancel."""
    load_ms: int = 0
    """How long the finished model takes to load."""
    load_fail: int = 0
    """The finished model cannot be loaded."""
    answer_ms: int = 0
    """How long the finished model takes for an image or a word; it can be stopped."""
    answer_crash: int = 0
    """The finished model kills its process when it is asked."""
    answer_fail: int = 0
    """The finished model raises something unexpected when it is asked, with a path in its text."""
    answer_ignore_cancel: int = 0
    """Go on with an answer that nobody waits for."""

    @classmethod
    def parse(cls, base_model: str) -> Self:
        """Raises ScriptError, with every mistake in its message."""
        if not base_model.startswith(SCHEME):
            raise ScriptError(f"a fake base model is written {SCHEME}steps=100,…")
        known = {f.name for f in fields(cls)}
        values, mistakes = dict[str, int](), list[str]()
        for part in filter(None, base_model.removeprefix(SCHEME).split(",")):
            key, _, value = part.partition("=")
            if key not in known:
                mistakes.append(f"{key!r} is unknown")
            elif not value.isdecimal():
                mistakes.append(f"{key} must be a whole number")
            else:
                values[key] = int(value)
        if mistakes:
            raise ScriptError("; ".join(mistakes) + f". Known are {', '.join(sorted(known))}.")
        return cls(**values)
