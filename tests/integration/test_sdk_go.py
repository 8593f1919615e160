"""The Go module under clients/go: its own tests, and its example against a real gateway."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import example_program
from tests.support.platform import Platform
from tests.support.scripts import load_script

# A machine's first build of gRPC takes minutes.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

MODULE = Path(__file__).resolve().parents[2] / "clients" / "go"


def go(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["go", *arguments],
        cwd=MODULE,
        env=load_script("go_protos").environment(),
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module", autouse=True)
def _go() -> None:
    """Skips where there is no Go; REQUIRE_SERVERS=1 speaks of servers alone."""
    protos = load_script("go_protos")
    try:
        protos.check_go()
    except protos.GoUnavailable as error:
        pytest.skip(f"the SDK for Go: {error}")
    fetched = go("mod", "download")
    if fetched.returncode != 0:
        pytest.skip(f"the SDK for Go: its modules cannot be had: {fetched.stderr.strip()[-500:]}")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the example."""
    program = tmp_path_factory.mktemp("example") / "train"
    built = go("build", "-o", str(program), "./examples/train")
    assert built.returncode == 0, built.stderr
    return [str(program)]


def test_the_module_is_in_order() -> None:
    gofmt = shutil.which("gofmt") or "gofmt"
    unformatted = subprocess.run([gofmt, "-l", MODULE], check=True, capture_output=True, text=True).stdout
    assert unformatted == ""
    for command in (["vet", "./..."], ["test", "./..."]):
        done = go(*command)
        assert done.returncode == 0, f"go {' '.join(command)}:\n{done.stdout}{done.stderr}"


def test_the_example_rides_out_a_restart_of_the_gateway(
    fakes: Platform, example: list[str], tmp_path: Path
) -> None:
    example_program.assert_rides_out_a_restart(fakes, example, tmp_path)


def test_the_example_says_what_is_wrong(fakes: Platform, example: list[str], tmp_path: Path) -> None:
    example_program.assert_says_what_is_wrong(fakes, example, tmp_path)
