"""Runs the example program of an SDK and reads what it prints: an event a line, its sequence first."""

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.platform import Platform, drawn_images
from tuneyard.v1 import artifact_service_pb2


@dataclass
class Printed:
    """What a program printed and ended with."""

    lines: list[str] = field(default_factory=list)
    errors: str = ""
    code: int | None = None

    @property
    def sequences(self) -> list[int]:
        return [int(line.split()[0]) for line in self.lines if line[:1].isdigit()]

    def after(self, word: str) -> list[str]:
        """What follows a word, of all lines that begin with it."""
        return [line.removeprefix(f"{word} ") for line in self.lines if line.startswith(f"{word} ")]


def run(command: Sequence[str], *, seen: Callable[[str], None] = lambda line: None) -> Printed:
    """Runs a program to its end; `seen` is called with each line as it comes."""
    printed = Printed()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            for line in process.stdout:
                printed.lines.append(line.rstrip("\n"))
                seen(printed.lines[-1])
            printed.errors = process.stderr.read()
        finally:
            process.kill()
    printed.code = process.returncode
    return printed


def training(platform: Platform, folder: Path, script: str) -> list[str]:
    """The options with which an example trains the scripted fake recipe on drawn images."""
    dataset = folder / "drawn.zip"
    dataset.write_bytes(drawn_images())
    options = {
        "server": platform.address,
        "dataset": dataset,
        "base-model": f"fake:{script}",
        "output": folder / "out",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def assert_rides_out_a_restart(platform: Platform, program: Sequence[str], folder: Path) -> None:
    """Trains with an example, restarts the gateway at the first checkpoint, and checks all that comes out."""
    restarted: list[str] = []

    def restart(line: str) -> None:
        if " checkpoint " in line and not restarted:
            restarted.append(line)
            platform.gateway.restart()

    options = training(platform, folder, "steps=150,step_ms=10,save=20,artifact_bytes=3000000")
    printed = run([*program, *options], seen=restart)
    assert printed.code == 0, printed
    assert restarted
    [name] = printed.after("training")
    job = platform.job(name)
    assert printed.sequences == list(range(1, job.last_sequence + 1))
    assert printed.lines[0].startswith("uploaded datasets/drawn-")
    listed = platform.call(
        lambda channel: platform.artifacts(channel).ListArtifacts(
            artifact_service_pb2.ListArtifactsRequest(parent=name), timeout=10
        )
    )
    files = {str(folder / "out" / artifact.path): artifact.sha256 for artifact in listed.artifacts}
    assert sorted(printed.after("downloaded")) == sorted(files)
    assert {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files} == files


def assert_says_what_is_wrong(platform: Platform, program: Sequence[str], folder: Path) -> None:
    """A refused request and a failed job end an example with the server's words."""
    refused = run([*program, *training(platform, folder, "steps=10"), "--base-model=no-such-network"])
    assert (refused.code, "UNKNOWN_BASE_MODEL" in refused.errors) == (1, True), refused
    failed = run([*program, *training(platform, folder, "steps=10,fail_at=5")])
    assert (failed.code, "Take fail_at out of the script." in failed.errors) == (1, True), failed
