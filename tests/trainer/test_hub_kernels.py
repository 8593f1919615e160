import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
def get_kernel(*_, **__):
    raise SystemExit("a hub was asked")
"""
FORBIDDEN = "from tuneyard.trainer.hub_kernels import forbid_hub_kernels; forbid_hub_kernels();"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of processes in which the package `kernels` is installed."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def test_no_library_finds_the_package_that_fetches_machine_code(installed: dict[str, str]) -> None:
    asked = "import importlib.util; print(importlib.util.find_spec('kernels') is None)"
    without, with_it = (
        subprocess.run(
            [sys.executable, "-c", code], env=installed, capture_output=True, text=True, check=True
        )
        for code in (FORBIDDEN + asked, asked)
    )
    assert (without.stdout, with_it.stdout) == ("True\n", "False\n")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_quantisation_is_imported_without_a_word_and_without_a_hub(installed: dict[str, str]) -> None:
    imported = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{FORBIDDEN} import bitsandbytes"],
        env=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (imported.returncode, imported.stderr) == (0, "")
