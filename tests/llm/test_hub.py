"""Fetching language models from a hub, which is a small server of our own here."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_llm import tiny_llama
from tuneyard.trainer.base_identity import files_sha256

COMMIT = "c0ffee" * 6 + "c0ff"
CACHED = """
import sys
from pathlib import Path
from tuneyard.llm.hub import cached_base
from tuneyard.trainer.fake_run import FakeRun
run = FakeRun(root=Path(sys.argv[1]))
folder, commit = cached_base(sys.argv[2], "", run.cached)
again, _ = cached_base(sys.argv[2], "", run.cached)
print(commit, folder, folder == again)
"""
TOKENIZER = """
import sys
from pathlib import Path
from tuneyard.llm.hub import cached_tokenizer
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.trainer.fake_run import FakeRun
run = FakeRun(root=Path(sys.argv[1]))
folder = cached_tokenizer(sys.argv[2], "", run.cached)
print(load_tokenizer(folder).chat_template is not None, *sorted(path.name for path in folder.iterdir()))
"""
MISSING_TOKENIZER = """
import sys
from pathlib import Path
from tuneyard.llm.hub import cached_tokenizer
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
try:
    cached_tokenizer(sys.argv[2], "", FakeRun(root=Path(sys.argv[1])).cached)
except RecipeError as error:
    print(error.reason, error.message)
"""
FETCHED = """
import sys
from pathlib import Path
from tuneyard.llm.hub import fetch
from tuneyard.trainer.errors import RecipeError
try:
    print(fetch(sys.argv[2], Path(sys.argv[1]) / "fetched"))
except RecipeError as error:
    print(error.reason, error.message, *error.remedies)
"""


class Hub(ThreadingHTTPServer):
    """Serves one folder as org/there, and org/gated to nobody."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.cut_off = ""
        """The file whose connection breaks once, half-way."""
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/org/there"):
            siblings = [{"rfilename": name} for name in self.server.files]
            self._answer(json.dumps({"id": "org/there", "sha": COMMIT, "siblings": siblings}).encode())
        elif self.path.startswith(f"/org/there/resolve/{COMMIT}/"):
            self._file(self.path.rpartition("/")[2])
        else:
            is_gated = "org/gated" in self.path
            self.send_response(403 if is_gated else 404)
            self.send_header("X-Error-Code", "GatedRepo" if is_gated else "RepoNotFound")
            self.end_headers()

    do_HEAD = do_GET

    def _file(self, name: str) -> None:
        content = self.server.files[name]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if self.command == "GET":
            self.server.asked.append(f"{name}@{start}")
        if self.command == "GET" and self.server.cut_off == name:
            self.server.cut_off = ""
            self._answer(content[: len(content) // 2], size=len(content), name=name)
            self.connection.close()
            return
        self._answer(content[start:], size=len(content), start=start, name=name)

    def _answer(self, content: bytes, *, size: int = 0, start: int = 0, name: str = "") -> None:
        whole = size or len(content)
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{abs(hash(name)):040d}"')
        self.send_header("Content-Length", str(whole - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tiny_llama(tmp_path / "published")
    (folder / "modeling_x.py").write_text("code")
    (folder / "pytorch_model.bin").write_bytes(b"doubled")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def told(program: str, folder: Path, hub: Hub, name: str, **environment: str) -> str:
    """The last line that a process prints that wants a base model."""
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "home")}
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    child = subprocess.run(
        [sys.executable, "-c", program, str(folder), name],
        env={**inherited, **settings, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=90,
    )
    return child.stdout.splitlines()[-1]


def test_a_base_is_fetched_once_and_has_the_hash_of_an_imported_one(hub: Hub, tmp_path: Path) -> None:
    commit, folder, is_same = told(CACHED, tmp_path, hub, "org/there").split()
    published = tmp_path / "published"
    (published / "modeling_x.py").unlink()
    (published / "pytorch_model.bin").unlink()
    assert (commit, is_same) == (COMMIT, "True")
    assert files_sha256(Path(folder)) == files_sha256(published)
    assert not any(asked.startswith(("modeling", "pytorch")) for asked in hub.asked)


def test_a_broken_connection_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = bytes(range(256)) * (96 << 10)
    hub.cut_off = "model.safetensors"
    assert told(FETCHED, tmp_path, hub, "org/there") == COMMIT
    tries = [int(asked.partition("@")[2]) for asked in hub.asked if asked.startswith("model.safetensors")]
    assert tries[0] == 0 < tries[1]
    assert (tmp_path / "fetched" / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_config_that_asks_for_code_ends_it_before_the_weights(hub: Hub, tmp_path: Path) -> None:
    config = json.loads(hub.files["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    hub.files["config.json"] = json.dumps(config).encode()
    assert "remote code" in told(FETCHED, tmp_path, hub, "org/there")
    assert [asked.partition("@")[0] for asked in hub.asked] == ["config.json"]


def test_what_cannot_be_fetched_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    gated = told(FETCHED, tmp_path, hub, "org/gated")
    assert "access to it is restricted" in gated
    assert "accept its licence on the model's page" in gated
    assert "tuneyard models import FOLDER --name gated" in gated
    assert "there is no such model" in told(FETCHED, tmp_path, hub, "org/absent")
    assert "set to work offline" in told(FETCHED, tmp_path, hub, "org/there", HF_HUB_OFFLINE="1")


def test_of_a_base_that_is_only_shown_the_tokenizer_alone_is_fetched(hub: Hub, tmp_path: Path) -> None:
    has_template, *names = told(TOKENIZER, tmp_path / "run", hub, "org/there").split()
    assert has_template == "True"
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    assert not [file for file in hub.asked if ".safetensors" in file or ".bin" in file or ".py" in file]
    assert "cannot be fetched" in told(MISSING_TOKENIZER, tmp_path / "other", hub, "org/none")
