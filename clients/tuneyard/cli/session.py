"""What every command has: the server to speak to, and where words for people and for programs go.

Programs read standard output: with `--json` nothing but JSON goes there. People read both.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console

from tuneyard.client import DEFAULT_SERVER, Client, ConnectionSettings
from tuneyard.client.config import default_server, default_token

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130

_ENDLESS = 10_000

Document = Message | Mapping[str, Any]


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Where there is no terminal, nothing is broken at the width of one.
    width = None if stream.isatty() else _ENDLESS
    return Console(stderr=stderr, highlight=False, width=width)


@dataclass
class Session:
    """One command's run. Its client is opened by the first use and closed with the command."""

    server: str = field(default_factory=default_server)
    token: str | None = field(default_factory=default_token, repr=False)
    json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the server."""
        if self._client is None:
            self._client = Client(ConnectionSettings(server=self.server, token=self.token))
        return self._client

    @property
    def server_option(self) -> str:
        """What a command that is named to the user needs to reach the same server; "" for the default one."""
        return "" if self.server == DEFAULT_SERVER else f" --server {self.server}"

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return self.out.is_terminal and not self.json

    @property
    def people(self) -> Console:
        """Where words for people go: standard output, unless that is for JSON."""
        return self.err if self.json else self.out

    def document(self, document: Document) -> None:
        """Writes one JSON document on one line."""
        # Straight to the stream: rich would look for markup in it.
        sys.stdout.write(to_json(document) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Closes the client if there is one."""
        if self._client is not None:
            self._client.close()


def to_json(document: Document) -> str:
    """Proto3 JSON of a message, or JSON of a mapping that may hold messages, on one line."""
    return json.dumps(_plain(document), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value
