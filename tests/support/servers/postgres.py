"""A PostgreSQL server from the machine's own packages, installed with apt-get where this runs as root."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.process import ServerUnavailable, free_port, running, wait_until_ready

INSTALLED = Path("/usr/lib/postgresql")
SUPERUSER = "tuneyard"


def find_binaries() -> Path | None:
    """The folder of the newest installed server's programs; Debian keeps them off the PATH."""
    candidates = [
        path.parent for path in INSTALLED.glob("*/bin/initdb") if (path.parent / "postgres").exists()
    ]
    if candidates:
        return max(candidates, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def prepare() -> str:
    """Makes a server available if that is possible, and says what was found."""
    if find_binaries() is None:
        _install()
    binaries = find_binaries()
    if binaries is None:
        raise ServerUnavailable("no PostgreSQL server on this machine; install Debian's package `postgresql`")
    return f"PostgreSQL in {binaries}"


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        done = subprocess.run(
            ["apt-get", "-q", *arguments], env=env, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ServerUnavailable(f"apt-get {arguments[0]} failed: {done.stderr[-500:]}")


def _unprivileged_user() -> str | None:
    """Whom to run as: initdb refuses root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    """A fresh cluster on a free loopback port: trust authentication, fsync on, no Unix socket."""
    binaries = find_binaries()
    if binaries is None:
        raise ServerUnavailable("no PostgreSQL server is installed; `make servers` installs one where it can")
    user = _unprivileged_user()
    with tempfile.TemporaryDirectory(prefix="tuneyard-postgres-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)
        data, port, log = Path(folder) / "data", free_port(), Path(folder) / "server.log"
        _initdb(binaries, data, user)
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        command += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for connected clients.
        with running(command, log=log, user=user, stop_signal=signal.SIGINT, cwd=Path(folder)) as process:
            ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until_ready(
                lambda: subprocess.run(ready, check=False).returncode == 0, process=process, log=log
            )
            yield {"url": f"postgresql://{SUPERUSER}@127.0.0.1:{port}/postgres"}


def _initdb(binaries: Path, data: Path, user: str | None) -> None:
    command = [str(binaries / "initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
    group = pwd.getpwnam(user).pw_gid if user else None
    done = subprocess.run(
        [*command, "--locale=C.UTF-8", "--no-sync"],
        user=user, group=group, extra_groups=[] if user else None, cwd=data.parent,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise ServerUnavailable(f"initdb failed: {done.stderr[-500:]}")
