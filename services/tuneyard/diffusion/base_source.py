"""Where a run's base model comes from: the store, else the hub at a pinned revision."""

from dataclasses import dataclass
from pathlib import Path

from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.trainer.base_identity import BaseIdentity, files_sha256
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.run import Run


@dataclass(frozen=True)
class FoundBase:
    """A base model's files, in the layout of diffusers."""

    folder: Path
    identity: BaseIdentity


def find_base(config: TextToImageConfig, run: Run) -> FoundBase:
    """The base model's files; from here on nothing asks a hub.

    Raises RecipeError BASE_MODEL_UNAVAILABLE and what fetching raises.
    """
    found = _found(config, run)
    stay_offline()
    return found


def _found(config: TextToImageConfig, run: Run) -> FoundBase:
    folder = run.model_files()
    if folder is not None:
        facts = run.manifest()["base_model"] or {}
        return FoundBase(
            folder,
            BaseIdentity(
                id=facts.get("stored_as") or config.base_model,
                revision=facts.get("revision") or config.base_model_revision,
                sha256=facts.get("sha256") or files_sha256(folder),
            ),
        )
    from tuneyard.diffusion.hub import cached_base

    folder, commit = cached_base(config.base_model, config.base_model_revision, run.cached)
    identity = BaseIdentity(id=config.base_model, revision=commit, sha256=files_sha256(folder))
    return FoundBase(folder, identity)
