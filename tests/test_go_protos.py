"""Machines without a Go that will do are told apart, and the others' versions are read right."""

from pathlib import Path

import pytest

from tests.support.scripts import load_script

go_protos = load_script("go_protos")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(machine: Path, version: str) -> None:
    program = machine / "go"
    program.write_text(f"#!/bin/sh\necho go version {version} linux/amd64\n")
    program.chmod(0o755)


def test_a_machine_without_go_is_told_apart(machine: Path) -> None:
    with pytest.raises(go_protos.GoUnavailable, match="no `go` on the PATH"):
        go_protos.check_go()


@pytest.mark.parametrize("version", ["go1.9", "go1.24.9", "devel"])
def test_an_older_go_is_told_apart(machine: Path, version: str) -> None:
    install(machine, version)
    with pytest.raises(go_protos.GoUnavailable, match=r"needs Go 1\.25.* or newer"):
        go_protos.check_go()


@pytest.mark.parametrize("version", ["go1.25.0", "go1.26rc1", "go1.101"])
def test_a_newer_go_will_do(machine: Path, version: str) -> None:
    install(machine, version)
    go_protos.check_go()


def test_what_changes_the_target_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOPROXY", "off")
    environment = go_protos.environment()
    assert "GOOS" not in environment
    assert (environment["GOPROXY"], environment["GOTOOLCHAIN"]) == ("off", "local")
