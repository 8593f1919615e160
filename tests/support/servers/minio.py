"""MinIO's server, built with the machine's Go into a cache folder: no binaries are published any more."""

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.process import ServerUnavailable, free_port, running, wait_until_ready

# The last commit of the archived repository, which is also its newest version in Go's terms.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
OLDEST_GO = (1, 24)


def binary() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tuneyard" / f"minio-{VERSION}" / "minio"


def prepare() -> str:
    """Builds the server unless it is there (two and a half minutes on two cores), and says where it is."""
    target = binary()
    if not target.exists():
        _check_go()
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent.parent / "minio.lock").open("w") as lock:
            # Whoever waits here finds the other one's build.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _build(target)
    return f"MinIO in {target}"


def _check_go() -> None:
    if shutil.which("go") is None:
        raise ServerUnavailable("building MinIO needs Go, and there is no `go` on the PATH")
    answer = subprocess.run(
        ["go", "version"], env=_go_environment(), check=False, capture_output=True, text=True
    )
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GO:
        raise ServerUnavailable(
            f"building MinIO needs Go 1.24 or newer, and `go version` says {answer.stdout!r}"
        )


def _go_environment() -> dict[str, str]:
    """The caller's environment, less what would change the target or download another toolchain."""
    env = {name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH", "GOFLAGS")}
    return {**env, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


def _build(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent.parent) as folder:
        command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"github.com/minio/minio@{VERSION}"]
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            env={**_go_environment(), "GOBIN": folder},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ServerUnavailable(f"building MinIO failed: {done.stderr[-1000:]}")
        target.parent.mkdir(exist_ok=True)
        (Path(folder) / "minio").rename(target)


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    """One drive in a temporary folder, random credentials, a free loopback port, no console."""
    endpoint = f"127.0.0.1:{free_port()}"
    access_key, secret_key = secrets.token_hex(8), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="tuneyard-minio-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "server.log"
        env = {
            "PATH": os.defpath,
            "HOME": folder,
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        command = [str(binary()), "server", "--quiet", "--address", endpoint, str(Path(folder) / "drive")]
        with running(command, log=log, env=env) as process:
            # health/ready answers before the bucket metadata is loaded: a bucket made then may take a minute.
            health = f"http://{endpoint}/minio/health/cluster"
            wait_until_ready(lambda: _answers(health), process=process, log=log)
            yield {
                "endpoint": endpoint,
                "access_key": access_key,
                "secret_key": secret_key,
                "server": "MinIO",
            }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False
