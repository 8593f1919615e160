"""A process that writes to a folder store is killed at random moments; what is left is whole."""

import hashlib
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tuneyard.storage import MIN_PART_SIZE_BYTES, FolderStore

pytestmark = pytest.mark.integration

WRITER = """
import os, sys
from tuneyard.storage import MIN_PART_SIZE_BYTES as PART, FolderStore
store = FolderStore(sys.argv[1], public_url="http://localhost")
print("ready", flush=True)
while True:
    store.put("replaced", os.urandom(3_000_000))
    store.put("deleted/key", os.urandom(1000))
    upload = store.create_upload("uploaded", part_size_bytes=PART)
    print(upload, flush=True)
    for number in (1, 2, 1):
        store.put_part("uploaded", upload, number, os.urandom(PART))
    store.complete_upload("uploaded", upload, store.list_parts("uploaded", upload))
    store.delete("deleted/key")
"""


def kill_while_writing(root: Path, *, after_seconds: float) -> list[str]:
    """Run the writer for a while, kill it, and return the ids of the uploads that it opened."""
    command = [sys.executable, "-c", WRITER, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        try:
            writer.wait(timeout=after_seconds)
        except subprocess.TimeoutExpired:
            writer.kill()
        uploads = writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    return uploads


def check_whole(store: FolderStore) -> None:
    for info in store.list(""):
        assert hashlib.sha256(b"".join(store.read(info.key))).hexdigest() == info.sha256


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_leaves_whole_objects_and_parts(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(5):
        uploads = kill_while_writing(tmp_path, after_seconds=moments.uniform(0.01, 0.3))
        store = FolderStore(tmp_path, public_url="http://localhost")
        check_whole(store)
        for upload in uploads[-1:]:
            if not (tmp_path / "uploads" / upload / "upload.json").exists():
                continue
            parts = store.list_parts("uploaded", upload)
            if not parts or parts[0].number != 1:
                continue
            assert all(part.size_bytes == MIN_PART_SIZE_BYTES for part in parts)
            store.complete_upload("uploaded", upload, parts)
            check_whole(store)
