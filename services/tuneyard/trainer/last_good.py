"""The newest checkpoint from before a training went astray, on the local disk for as long as the run.

What is in it, and whether it is good, is the recipe's business. It costs the room of one checkpoint and no
time: files are linked, not copied.
"""

import shutil
from pathlib import Path

from tuneyard.trainer.linking import link_or_copy
from tuneyard.trainer.run import LoadedCheckpoint


class LastGood:
    """Where a training goes back to: a checkpoint of this run, the one it began at, or its very beginning."""

    def __init__(self, folder: Path, *, begun_at: LoadedCheckpoint | None) -> None:
        """`folder` is for this alone and need not exist; best on the disk where checkpoints are written."""
        self._folder = folder
        self._saves = 0
        self.step = begun_at.step if begun_at else 0
        self.dir: Path | None = begun_at.dir if begun_at else None
        """The checkpoint's files; None is the beginning, which needs none."""

    def keep(self, step: int, written: Path) -> None:
        """Keeps a checkpoint that was just written, instead of the one before."""
        self._saves += 1
        target = self._folder / str(self._saves)
        shutil.copytree(written, target, copy_function=_linked)
        if self.dir is not None and self.dir.parent == self._folder:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.step, self.dir = step, target


def _linked(source: str, target: str) -> None:
    link_or_copy(Path(source), Path(target))
