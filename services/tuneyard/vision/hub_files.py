"""Fetches a model's files from the Hugging Face hub: weights and settings only, never code."""

from tuneyard.trainer.convert_child import ModelFiles
from tuneyard.trainer.errors import RecipeError

_SETTINGS = ("config.json", "preprocessor_config.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The first that is there is fetched."""
_REFUSALS = {
    401: "it is private or does not exist",
    403: "access to it is restricted",
    404: "there is no such model or revision",
}


def fetch(files: ModelFiles) -> str:
    """Fetches into `files.source`; returns the commit. Raises RecipeError BASE_MODEL_UNAVAILABLE."""
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    except ImportError as error:
        raise _unavailable(
            files.hub_id, "huggingface_hub is not installed on the trainer's machine"
        ) from error
    try:
        info = HfApi().model_info(files.hub_id, revision=files.revision or None, timeout=15)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        weights = next((name for name in _WEIGHTS if name in there), None)
        if weights is None:
            raise _unavailable(files.hub_id, f"it has neither {' nor '.join(_WEIGHTS)}")
        for name in (weights, *(name for name in _SETTINGS if name in there)):
            hf_hub_download(files.hub_id, name, revision=info.sha, local_dir=files.source)
    except (HfHubHTTPError, HFValidationError) as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        told = _REFUSALS.get(code or 0, f"the hub refuses it ({code or 'the id is none of a hub'})")
        raise _unavailable(files.hub_id, told) from error
    except OfflineModeIsEnabled as error:
        raise _unavailable(files.hub_id, "this trainer is set to work offline") from error
    except RecipeError:
        raise
    except Exception as error:  # of whichever library carries the request
        raise _unavailable(files.hub_id, f"the hub cannot be reached ({type(error).__name__})") from error
    return str(info.sha)


def _unavailable(hub_id: str, why: str) -> RecipeError:
    return RecipeError(
        f"{hub_id} cannot be fetched: {why}.",
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=(
            "Download its files where there is a network, and import them:"
            f" `tuneyard models import FOLDER --name {hub_id.rpartition('/')[2]}`.",
        ),
    )
