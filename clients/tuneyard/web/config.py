"""The web edge's settings, read from the environment once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuneyard.client.addresses import is_loopback
from tuneyard.client.config import default_server, default_token

DEFAULT_LISTEN = "127.0.0.1:8000"


class ConfigError(Exception):
    """The settings contradict each other; the message says how."""


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What the edge is told."""

    listen: str = DEFAULT_LISTEN
    """HOST:PORT."""
    server: str
    """HOST:PORT of the gateway."""
    token: str = field(default="", repr=False)
    """The gateway's bearer token. Beyond loopback callers must bring it."""
    hosts: tuple[str, ...] = ()
    """Names under which the edge may be called, beside those of loopback and its own address."""
    origins: tuple[str, ...] = ()
    """Other sites whose pages may call it, such as "https://lab.example"."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.listen.rpartition(":")[0].strip("[]"))


def load_config(environment: Mapping[str, str] = os.environ) -> WebConfig:
    """The settings. Raises ConfigError."""
    config = WebConfig(
        listen=environment.get("TUNEYARD_WEB_LISTEN") or DEFAULT_LISTEN,
        server=default_server(environment),
        token=default_token(environment) or "",
        hosts=_words(environment.get("TUNEYARD_WEB_HOSTS", "")),
        origins=_words(environment.get("TUNEYARD_WEB_ORIGINS", "")),
    )
    if not config.is_loopback and not config.token:
        raise ConfigError(
            f"TUNEYARD_WEB_LISTEN={config.listen} can be reached by other machines: set TUNEYARD_TOKEN"
        )
    return config


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().rstrip("/").lower() for word in text.split(",") if word.strip())
