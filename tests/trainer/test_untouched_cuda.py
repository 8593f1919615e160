import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tuneyard.trainer.untouched_cuda import capabilities_from_driver

TOOL = """#!/bin/sh
case "$*" in *compute_cap*) printf '9.0\\n8.6\\n';; esac
"""
IMPORTED = """
import sys, torch
from tuneyard.trainer.warm import import_modules

def initialised():
    raise SystemExit("CUDA was initialised")

torch.cuda._lazy_init = initialised
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
print(import_modules(["bitsandbytes"]), type(sys.modules["bitsandbytes.cextension"].lib).__name__)
"""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """torch's, of an accelerator that torch itself takes for the newest."""
    cuda = SimpleNamespace(get_device_capability=lambda _: (12, 0))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def test_what_unequal_accelerators_can_all_do_is_told_by_the_driver(cuda: SimpleNamespace) -> None:
    with capabilities_from_driver(lambda: [(9, 0), (8, 6)]):
        assert cuda.get_device_capability(0) == (8, 6)
    assert cuda.get_device_capability(0) == (12, 0)


def test_torch_answers_where_the_driver_does_not(cuda: SimpleNamespace) -> None:
    with capabilities_from_driver(lambda: []):
        assert cuda.get_device_capability(0) == (12, 0)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_quantisation_is_imported_for_accelerators_without_initialising_cuda(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL)
    tool.chmod(0o700)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout == "{} CudaBNBNativeLibrary\n"
