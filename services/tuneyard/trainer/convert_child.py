"""`python -m tuneyard.trainer.convert_child MODULE FOLDER PARENT_PID`: checks and converts one model's files.

A process of its own, because it reads strangers' files: it holds no credentials, has bounds on memory and
time, and dies with the trainer. What "converting" means is the family's: MODULE has the function `convert`.
"""

import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.hub_kernels import forbid_hub_kernels
from tuneyard.trainer.process import ParentGone, begin_worker

_BASE_BYTES = 6 << 30
"""Of private memory for the libraries; each byte of the files may be in memory a few times beside it."""
_COPIES = 5
_CPU_SECONDS = 1800


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """What is to be converted."""

    source: Path
    """The folder with the files as they were received; empty where `hub_id` says what to fetch into it."""
    result: Path
    """The empty folder for the converted files."""
    architecture: str = ""
    """As the caller named it; "" if the files must tell."""
    hub_id: str = ""
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What the files turned out to be."""

    architecture: str
    detail: str
    """In words: "resnet50 of torchvision, 1000 classes"."""
    tasks: tuple[str, ...]
    """What it can be trained for, such as "image_classifier"."""
    revision: str = ""
    """The hub's commit, where it was fetched."""
    facts: str = ""
    """What the family wants to know of the model later, as JSON."""


Convert = Callable[[ModelFiles], Converted]


def main() -> int:
    """Converts, and writes answer.json: the fields of Converted, or `reason` and `message`."""
    module, folder, parent_pid = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    try:
        begin_worker(parent_pid)
    except ParentGone:
        return 1
    forbid_hub_kernels()
    request = json.loads((folder / "request.json").read_text())
    files = ModelFiles(source=folder / "source", result=folder / "result", **request)
    _limit(sum(path.stat().st_size for path in files.source.rglob("*") if path.is_file()))
    try:
        answer = asdict(cast(Convert, importlib.import_module(module).convert)(files))
    except RecipeError as error:
        answer = {"reason": error.reason, "message": " ".join((error.message, *error.remedies))}
    except MemoryError:
        traceback.print_exc()
        answer = {"reason": "BASE_MODEL_UNAVAILABLE", "message": "Reading the files takes too much memory."}
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


def _limit(size_bytes: int) -> None:
    memory = _BASE_BYTES + _COPIES * size_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit lets the libraries clean up, which takes longer than all of the above.
    os._exit(code)
