"""Fetching from a hub, which is a small server of our own here."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

COMMIT = "c0ffee" * 6 + "c0ff"
FILES = {"config.json": b'{"model_type": "vit"}', "model.safetensors": b"weights", "modeling.py": b"code"}
PROGRAM = """
import sys
from pathlib import Path
from tuneyard.trainer.convert_child import ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.hub_files import fetch
folder = Path(sys.argv[1])
try:
    print(fetch(ModelFiles(source=folder, result=folder, hub_id=sys.argv[2])))
except RecipeError as error:
    print(error.message)
"""


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/api/models/org/there"):
            siblings = [{"rfilename": name} for name in FILES]
            self._answer(json.dumps({"id": "org/there", "sha": COMMIT, "siblings": siblings}).encode())
        elif self.path.startswith(f"/org/there/resolve/{COMMIT}/"):
            self._answer(FILES[self.path.rpartition("/")[2]])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    do_HEAD = do_GET

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(content):040d}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(folder: Path, endpoint: str, name: str, **environment: str) -> str:
    """The last line that a process prints that fetches a model."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "home")}
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), name],
        env={**os.environ, **settings, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=90,
    )
    return child.stdout.splitlines()[-1]


def test_weights_and_settings_are_fetched_at_a_commit_and_no_code(hub: str, tmp_path: Path) -> None:
    assert fetch(tmp_path, hub, "org/there") == COMMIT
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "config.json").exists()
    assert not (tmp_path / "modeling.py").exists()


def test_why_a_model_cannot_be_fetched_is_told(hub: str, tmp_path: Path) -> None:
    assert "there is no such model" in fetch(tmp_path, hub, "org/absent")
    assert "set to work offline" in fetch(tmp_path, hub, "org/there", HF_HUB_OFFLINE="1")


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    assert "the hub cannot be reached" in fetch(tmp_path, "http://127.0.0.1:1", "org/there")
