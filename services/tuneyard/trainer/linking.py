"""A file in a second place without a second copy of its bytes, where the disk can do that."""

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`: to be replaced as a whole, never written into."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        # Some file systems know no links, and none reaches from one disk to another.
        shutil.copyfile(source, target)
