"""Fetching language models from a hub, which is a small server of our own here."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_llm import tiny_llama
from tuneyard.trainer.base_identity import files_sha256

COMMIT = "c0ffee" * 6 + "c0ff"
PROGRAM = """
import json, sys
from pathlib import Path
from tuneyard.llm.hub import cached_base, cached_tokenizer, fetch
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun

def base(folder, name):
    cached = FakeRun(root=folder).cached
    found, commit = cached_base(name, "", cached)
    again, _ = cached_base(name, "", cached)
    return commit, str(found), found == again

def tokenizer(folder, name):
    from tuneyard.llm.tokenizer_files import load_tokenizer
    found = cached_tokenizer(name, "", FakeRun(root=folder).cached)
    return load_tokenizer(found).chat_template is not None, [path.name for path in found.iterdir()]

def files(folder, name):
    return fetch(name, folder / "fetched")

told, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    wanted, folder, name = json.loads(line)
    try:
        answer = globals()[wanted](Path(folder), name)
    except RecipeError as error:
        answer = " ".join((error.reason, error.message, *error.remedies))
    print(json.dumps(answer), file=told, flush=True)
"""


class Hub(ThreadingHTTPServer):
    """Serves one folder as org/there, and org/gated to nobody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    def publish(self, folder: Path) -> None:
        """Serves this folder, and has not been asked yet."""
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


@pytest.fixture(scope="module")
def _server() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(_server: Hub, tmp_path: Path) -> Hub:
    folder = tiny_llama(tmp_path / "published")
    (folder / "modeling_x.py").write_text("code")
    (folder / "pytorch_model.bin").write_bytes(b"doubled")
    _server.publish(folder)
    return _server


Ask = Callable[[str, Path, str], Any]


@contextmanager
def asking(hub: Hub, home: Path, **environment: str) -> Iterator[Ask]:
    """Asks a process that wants base models: what for, for which folder, by which name."""
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(home)}
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**inherited, **settings, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as child:
        assert child.stdin and child.stdout

        def ask(wanted: str, folder: Path, name: str) -> Any:
            print(json.dumps((wanted, str(folder), name)), file=child.stdin)
            return json.loads(child.stdout.readline())  # type: ignore[union-attr]

        yield ask
        child.stdin.close()


@pytest.fixture(scope="module")
def ask(_server: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """One process for all that are online: it takes seconds to start."""
    with asking(_server, tmp_path_factory.mktemp("home")) as ask:
        yield ask


def test_a_base_is_fetched_once_and_has_the_hash_of_an_imported_one(
    hub: Hub, ask: Ask, tmp_path: Path
) -> None:
    commit, folder, is_same = ask("base", tmp_path, "org/there")
    published = tmp_path / "published"
    (published / "modeling_x.py").unlink()
    (published / "pytorch_model.bin").unlink()
    assert (commit, is_same) == (COMMIT, True)
    assert files_sha256(Path(folder)) == files_sha256(published)
    assert not any(asked.startswith(("modeling", "pytorch")) for asked in hub.asked)


def test_a_broken_connection_is_gone_on_with(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = bytes(range(256)) * (96 << 10)
    hub.cut_off = "model.safetensors"
    assert ask("files", tmp_path, "org/there") == COMMIT
    tries = [int(asked.partition("@")[2]) for asked in hub.asked if asked.startswith("model.safetensors")]
    assert tries[0] == 0 < tries[1]
    assert (tmp_path / "fetched" / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_config_that_asks_for_code_ends_it_before_the_weights(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    config = json.loads(hub.files["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    hub.files["config.json"] = json.dumps(config).encode()
    assert "remote code" in ask("files", tmp_path, "org/there")
    assert [asked.partition("@")[0] for asked in hub.asked] == ["config.json"]


def test_what_cannot_be_fetched_says_what_to_do(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    gated = ask("files", tmp_path, "org/gated")
    assert "access to it is restricted" in gated
    assert "accept its licence on the model's page" in gated
    assert "tuneyard models import FOLDER --name gated" in gated
    assert "there is no such model" in ask("files", tmp_path, "org/absent")


def test_what_is_set_to_work_offline_says_so(hub: Hub, tmp_path: Path) -> None:
    with asking(hub, tmp_path / "home", HF_HUB_OFFLINE="1") as ask:
        assert "set to work offline" in ask("files", tmp_path, "org/there")
    assert hub.asked == []


def test_of_a_base_that_is_only_shown_the_tokenizer_alone_is_fetched(
    hub: Hub, ask: Ask, tmp_path: Path
) -> None:
    has_template, names = ask("tokenizer", tmp_path / "run", "org/there")
    assert has_template is True
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    assert not [file for file in hub.asked if ".safetensors" in file or ".bin" in file or ".py" in file]
    assert "cannot be fetched" in ask("tokenizer", tmp_path / "other", "org/none")
