"""The npm package under clients/typescript: its own tests, and its example against a real gateway."""

import subprocess
from pathlib import Path

import pytest

from tests.support import example_program
from tests.support.platform import Platform

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "typescript"


def sdk(what: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", "scripts/sdk_typescript", what]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    """Skips where there is no Node.js; REQUIRE_SERVERS=1 speaks of servers alone."""
    possible = sdk("can")
    if possible.returncode != 0:
        pytest.skip(f"the SDK for TypeScript: {possible.stderr.strip()[-500:]}")


@pytest.fixture(scope="module")
def example() -> list[str]:
    """The command that runs the example, built."""
    built = sdk("build")
    assert built.returncode == 0, built.stdout + built.stderr
    return ["node", str(PACKAGE / "dist" / "examples" / "train.js")]


def test_the_package_is_in_order(example: list[str]) -> None:
    command = ["npm", "run", "--silent", "test"]
    tested = subprocess.run(command, cwd=PACKAGE, check=False, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_example_rides_out_a_restart_of_the_gateway(
    fakes: Platform, example: list[str], tmp_path: Path
) -> None:
    example_program.assert_rides_out_a_restart(fakes, example, tmp_path)


def test_the_example_says_what_is_wrong(fakes: Platform, example: list[str], tmp_path: Path) -> None:
    example_program.assert_says_what_is_wrong(fakes, example, tmp_path)
