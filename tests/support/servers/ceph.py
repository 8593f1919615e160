"""Ceph's S3 server (radosgw) over one store in memory, for machines that cannot build MinIO."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.servers.process import ServerUnavailable, free_port, running, wait_until_ready

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool")
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")

# One store and one copy. The daemons authenticate to each other because radosgw insists on it.
CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data = {folder}/mon
mon data avail crit = 0
mon max pg per osd = 1000
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {capacity_bytes}
rgw data = {folder}/rgw
[client.admin]
keyring = {folder}/keyring
[client.rgw]
keyring = {folder}/rgw/keyring
"""


def is_installed() -> bool:
    return all(shutil.which(program) for program in PROGRAMS)


def prepare() -> str:
    """Installs Debian's packages where this runs as root (69 MB), and says what was found."""
    if not is_installed() and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            command = ["apt-get", "-q", *arguments]
            if subprocess.run(command, env=env, check=False, capture_output=True).returncode != 0:
                raise ServerUnavailable(f"apt-get {arguments[0]} failed for {', '.join(PACKAGES)}")
    if not is_installed():
        raise ServerUnavailable(f"Ceph's S3 server is not installed (Debian: {', '.join(PACKAGES)})")
    return "Ceph's radosgw"


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    """A cluster of one on free loopback ports, with a user of random keys."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tuneyard-ceph-", ignore_cleanup_errors=True)
            )
        )
        cluster = _Cluster(folder, stack)
        cluster.start_monitor()
        cluster.start_store()
        yield cluster.start_gateway()


class _Cluster:
    """The daemons of one cluster, in the order in which they need each other."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._fsid, self._mon_port = str(uuid.uuid4()), free_port()
        self._conf = folder / "ceph.conf"
        settings = {"fsid": self._fsid, "mon_port": self._mon_port, "folder": folder}
        self._conf.write_text(CONFIGURATION.format(**settings, capacity_bytes=4 << 30))
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()

    def _call(self, program: str, *arguments: str) -> str:
        command = [program, "-c", str(self._conf), *arguments]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            raise ServerUnavailable(f"{program} {arguments[0]} did not answer") from None
        if done.returncode != 0:
            raise ServerUnavailable(f"{program} {arguments[0]} failed: {done.stderr[-1000:]}")
        return done.stdout

    def _daemon(self, program: str, name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._folder / f"{program}.out"
        command = [program, "-f", "-c", str(self._conf), "-n", name, *arguments]
        return self._stack.enter_context(running(command, log=log)), log

    def _write_key(self, name: str, path: Path, *, mon: str, osd: str) -> None:
        path.write_text(self._call("ceph", "auth", "get-or-create", name, "mon", mon, "osd", osd))

    def start_monitor(self) -> None:
        monmap, keyring = str(self._folder / "monmap"), str(self._folder / "keyring")
        address = f"[v2:127.0.0.1:{self._mon_port}]"
        self._call("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", address, monmap)
        everything = [word for target in ("mon", "osd", "mgr") for word in ("--cap", target, "allow *")]
        for name, options in (("mon.", ["--create-keyring"]), ("client.admin", [])):
            self._call("ceph-authtool", keyring, *options, "--gen-key", "-n", name, *everything)
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        process, log = self._daemon("ceph-mon", "mon.a")
        ready = ["ceph", "-c", str(self._conf), "--connect-timeout", "5", "status"]
        wait_until_ready(
            lambda: subprocess.run(ready, check=False, capture_output=True).returncode == 0,
            process=process,
            log=log,
        )

    def start_store(self) -> None:
        identity = str(uuid.uuid4())
        self._call("ceph", "osd", "new", identity)
        self._write_key("osd.0", self._folder / "osd" / "keyring", mon="allow profile osd", osd="allow *")
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        process, log = self._daemon("ceph-osd", "osd.0")

        def is_up() -> bool:
            return bool(json.loads(self._call("ceph", "osd", "stat", "--format", "json"))["num_up_osds"] == 1)

        wait_until_ready(is_up, process=process, log=log)

    def start_gateway(self) -> dict[str, str]:
        endpoint = f"127.0.0.1:{free_port()}"
        access_key, secret_key = secrets.token_hex(8), secrets.token_urlsafe(24)
        self._write_key("client.rgw", self._folder / "rgw" / "keyring", mon="allow rw", osd="allow rwx")
        process, log = self._daemon("radosgw", "client.rgw", f"--rgw-frontends=beast endpoint={endpoint}")
        wait_until_ready(lambda: _answers(f"http://{endpoint}/"), process=process, log=log)
        names = ("--uid=tests", "--display-name=tests")
        self._call(
            "radosgw-admin", "user", "create", *names, f"--access-key={access_key}", f"--secret={secret_key}"
        )
        return {"endpoint": endpoint, "access_key": access_key, "secret_key": secret_key, "server": "Ceph"}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
