"""Work with base models in the store needs no network, and does not so much as ask for one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.isolated import IMPOSSIBLE, WORK
from tuneyard.v1 import job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.mark.parametrize("family", WORK)
def test_nothing_asks_for_a_network_where_there_is_none(tmp_path: Path, family: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.isolated", family, str(tmp_path / "isolated")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if ran.returncode == IMPOSSIBLE:
        pytest.skip(f"this machine allows no network namespace: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr + ran.stdout
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["states"] == [str(job_pb2.JOB_STATE_SUCCEEDED)] * 2
    assert found["attempts_when_asked_for"] > 0, "the kernel does not count"
    assert found["attempts"] == 0
