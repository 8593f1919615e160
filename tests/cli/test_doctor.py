import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.cli import checks, services
from tuneyard.v1.system_service_pb2 import GetServerInfoResponse

Run = Callable[..., Any]


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        yield int(opened.getsockname()[1])


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing it takes seconds, and what it says is not what is tested here.
    monkeypatch.setattr(checks, "check_devices", lambda environment: checks.Check("devices", "ok", "none"))


def test_a_good_machine_is_0_and_each_check_is_told(run: Run, tmp_path: Path) -> None:
    ran = run("doctor", "--data-dir", tmp_path / "new" / "folder", "--json")
    assert ran.code == 0
    assert ran.document["ok"] is True
    names = [check["name"] for check in ran.document["checks"]]
    assert names[:2] == ["python", "gateway"]
    assert {"devices", "disk", "ports", "store", "database", "server"} <= set(names)
    assert not (tmp_path / "new").exists()


def test_a_failed_check_is_1_with_a_remedy(run: Run, tmp_path: Path) -> None:
    ran = run("doctor", "--data-dir", tmp_path, "--database", "postgresql://u:secret@127.0.0.1:1/db")
    assert ran.code == 1
    assert "failed   database  PostgreSQL: no answer from 127.0.0.1:1" in ran.out
    assert "secret" not in ran.out


def test_detectors_are_an_extra_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "unavailable", lambda family: "")
    monkeypatch.setattr(services, "missing_modules", lambda extra: ["x"] if extra == "detector" else [])
    (found,) = [check for check in checks.check_extras() if check.name == "detector"]
    assert found.state == "warning"
    assert "tuneyard[detector]" in found.remedy


def test_the_read_speed_of_the_disk_is_told(tmp_path: Path) -> None:
    check = checks.check_disk(tmp_path)
    assert check.state in ("ok", "warning")
    assert "/s" in check.detail


def test_the_shared_memory_of_a_container_is_little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = {"f_frsize": 4096, "f_blocks": (64 << 20) // 4096, "f_bavail": (60 << 20) // 4096}
    monkeypatch.setattr(checks.os, "statvfs", lambda folder: SimpleNamespace(**blocks))
    check = checks.check_shared_memory()
    assert check.state == "warning"
    assert "--shm-size" in check.remedy
    blocks["f_blocks"] = (2 << 30) // 4096
    assert checks.check_shared_memory().state == "ok"


def test_no_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert checks.check_shared_memory(tmp_path / "none").state == "warning"


def test_a_store_or_database_that_answers_is_ok(listener: int) -> None:
    address = f"127.0.0.1:{listener}"
    assert checks.check_store("s3://bucket", address).state == "ok"
    assert checks.check_database(f"postgresql://{address}/db").state == "ok"


@pytest.mark.parametrize("url", ["s3://bucket", "ftp://x"])
def test_a_store_that_cannot_be_is_failed(url: str) -> None:
    assert checks.check_store(url, "").state == "failed"


def test_a_server_of_another_release_is_a_warning(gateway: FakeGateway, run: Run, tmp_path: Path) -> None:
    gateway.answer("GetServerInfo", GetServerInfoResponse(version="0.0.1"))
    (check,) = [
        check
        for check in run("doctor", "--data-dir", tmp_path, "--json").document["checks"]
        if check["name"] == "server"
    ]
    assert check["state"] == "warning"
    assert "0.0.1" in check["detail"]


def test_a_port_in_use_is_seen(listener: int) -> None:
    assert not services.is_free(listener)
    assert all(services.is_free(port) for port in services.free_ports(["a", "b"]).values())


def test_a_family_without_a_trainer_is_said_to_have_none() -> None:
    assert services.unavailable("music") == "music: this release has no trainer for it yet"
