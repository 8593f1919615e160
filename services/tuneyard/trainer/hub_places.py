"""Where known base models are: on this machine, or to be fetched from the hub. Imports no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tuneyard.v1 import model_service_pb2

HUB_CACHE = "hub-models"
"""The kind of entry in the trainer's cache that runs keep fetched base models under."""
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True)
class HubPlaces:
    """This machine's places of base models."""

    trainer_cache: Path
    offline: bool
    """Whether nothing may be fetched."""
    has_token: bool = False
    """Whether fetching is done for an account, which gated models ask for."""

    @classmethod
    def of(cls, environment: Mapping[str, str], *, trainer_cache: Path, offline: bool) -> Self:
        """As the hub's library finds its token; the environment is passed in."""
        home = Path(environment.get("HF_HOME") or "~/.cache/huggingface").expanduser()
        token = Path(environment.get("HF_TOKEN_PATH") or home / "token")
        has_token = any(environment.get(name) for name in _TOKEN_VARIABLES) or token.is_file()
        return cls(trainer_cache, offline, has_token)

    def availability(
        self, hub_id: str, revision: str, *, gated: bool
    ) -> "model_service_pb2.Availability.ValueType":
        """Of a hub's model at a revision: cached, fetchable, or to be imported."""
        if self._is_cached(hub_id, revision):
            return model_service_pb2.AVAILABILITY_CACHED
        if self.offline or not revision or (gated and not self.has_token):
            return model_service_pb2.AVAILABILITY_IMPORT_NEEDED
        return model_service_pb2.AVAILABILITY_FETCHABLE

    def can_be_had(self, hub_id: str, revision: str, *, gated: bool) -> bool:
        """Whether a run can start from it without an import."""
        found = self.availability(hub_id, revision, gated=gated)
        return found != model_service_pb2.AVAILABILITY_IMPORT_NEEDED

    def _is_cached(self, hub_id: str, revision: str) -> bool:
        digest = hashlib.sha256(cache_key(hub_id, revision).encode()).hexdigest()
        return (self.trainer_cache / HUB_CACHE / digest / "complete.json").is_file()


def cache_key(hub_id: str, revision: str) -> str:
    """Names a fetched model in the trainer's cache."""
    return f"{hub_id}@{revision}"
