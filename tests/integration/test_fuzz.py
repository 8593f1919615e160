"""The web edge under requests made up from its own OpenAPI documents: none is answered by a fault.

TUNEYARD_FUZZ_SECONDS says how long each document is tried, in place of the half minute of a test run.
"""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.platform import Platform

SECONDS = int(os.environ.get("TUNEYARD_FUZZ_SECONDS", "25"))
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3 * SECONDS + 180)]


@pytest.fixture(scope="module")
def web(fakes: Platform) -> str:
    return fakes.start_web()


@pytest.mark.parametrize(
    ("document", "base", "left_out"),
    [
        # It ends only with the caller.
        ("/openapi.json", "", ("--exclude-operation-id", "WatchJobs")),
        # A body of any size is what it is for: fuzzed forms are none.
        ("/api/openapi.json", "/api", ()),
    ],
)
def test_made_up_requests_are_never_answered_by_a_fault(
    web: str, tmp_path: Path, document: str, base: str, left_out: tuple[str, ...]
) -> None:
    ran = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{web}{document}", "--url", f"{web}{base}", *left_out),
            *("--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--seed", "1"),
            *("--max-time", str(SECONDS), "--request-timeout", "20", "--continue-on-failure"),
            *("--suppress-health-check", "all", "--no-color", "--warnings", "off"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * SECONDS + 120,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
