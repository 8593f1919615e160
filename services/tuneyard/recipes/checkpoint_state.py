"""What checkpoints are made of: tensors as safetensors, the rest as values that are safe to load."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run


def save_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors, wherever they are, as a safetensors file."""
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, path)


def save_training_state(state: Mapping[str, Any], path: Path) -> None:
    """Writes what `load_training_state` reads: plain values and tensors, "version" among them."""
    # By way of a file: torch's own writer of paths does not say why it fails, such as for want of space.
    with path.open("wb") as file:
        torch.save(dict(state), file)


def load_training_state(path: Path, *, version: int) -> dict[str, Any]:
    """A dict that `save_training_state` wrote, with the number of its layout as "version".

    Only plain values and tensors are ever unpickled; the tensors stay in the file until they are copied.
    Raises RecipeError CHECKPOINT_CORRUPT.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the unpickler raises nearly anything on foreign bytes
        raise unusable_checkpoint(error) from error
    if not isinstance(state, dict) or state.get("version") != version:
        raise unusable_checkpoint(ValueError("of another release"))
    return cast(dict[str, Any], state)


def unusable_checkpoint(error: Exception) -> RecipeError:
    """The error of a checkpoint that cannot be read."""
    return RecipeError(
        f"The checkpoint cannot be continued: {type(error).__name__}.",
        reason="CHECKPOINT_CORRUPT",
        remedies=("Run the job again from its beginning (`tuneyard jobs rerun`).",),
    )


def is_finite(model: nn.Module) -> bool:
    """Whether every trained weight and every buffer is a number; what is frozen never changes.

    By their sums, which one that is none spoils: a tenth of the time that looking at each would take.
    """
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    tensors = [t for t in (*trained, *model.buffers()) if t.is_floating_point()]
    if not tensors:
        return True
    with torch.no_grad():
        return bool(torch.stack([tensor.sum().float() for tensor in tensors]).isfinite().all())


def set_threads(run: Run, saved: Mapping[str, Any] | None) -> None:
    """As many threads as the job had before, by its checkpoint's "threads": sums in another order would round
    otherwise.
    """
    threads = run.cpu_threads
    if saved and saved["threads"] != threads:
        if saved["threads"] <= (os.cpu_count() or 1):
            threads = saved["threads"]
        else:
            run.warn(
                "not_bitwise",
                f"The checkpoint was made with {saved['threads']} threads, more than this machine has cores:"
                " results will not be bitwise those of an uninterrupted run.",
            )
    torch.set_num_threads(threads)
