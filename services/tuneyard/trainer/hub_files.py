"""Fetches chosen files of a model from the Hugging Face hub, for every family: never code, always one commit.

Which files a family needs it says itself; what becomes of them is its business too.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tuneyard.trainer.errors import RecipeError

Choose = Callable[[Collection[str]], Sequence[str]]
"""From the names of all files at the commit, those to fetch; may raise RecipeError."""

_INFO_WITHIN_SECONDS = 15
_TRIES = 4
_PAUSE_SECONDS = 2.0
_REFUSALS = {
    401: "it is private or does not exist, or its licence must be accepted first",
    403: "access to it is restricted",
    404: "there is no such model or revision",
}
_GATED = (
    "If it is gated, accept its licence on the model's page at the hub; then download it with that"
    " account, or start the trainer with the account's token in HF_TOKEN."
)


def fetch(
    hub_id: str,
    folder: Path,
    *,
    choose: Choose,
    revision: str = "",
    name: str = "",
    pause: float = _PAUSE_SECONDS,
) -> str:
    """Fetches into `folder`; returns the commit. What a broken connection left is gone on with.

    `name` is what the model is to be called in the store, for the remedy. RecipeError BASE_MODEL_UNAVAILABLE.
    """
    with _told(hub_id, name=name):
        from huggingface_hub import HfApi, hf_hub_download

        info = HfApi().model_info(hub_id, revision=revision or None, timeout=_INFO_WITHIN_SECONDS)
        commit = str(info.sha)
        for file in choose({sibling.rfilename for sibling in info.siblings or ()}):
            for left in reversed(range(_TRIES)):
                try:
                    hf_hub_download(hub_id, file, revision=commit, local_dir=folder)
                    break
                except Exception as error:
                    if not left or not _passes(error):
                        raise
                    # The part that came is kept beside the file, and the next try asks for the rest.
                    time.sleep(pause)
        return commit


def unavailable(hub_id: str, why: str, *, name: str = "", gated: bool = False) -> RecipeError:
    """The error of a model that cannot be had from the hub, with the commands that bring it in."""
    stored = name or hub_id.rpartition("/")[2]
    return RecipeError(
        f"{hub_id} cannot be fetched: {why}.",
        reason="BASE_MODEL_UNAVAILABLE",
        remedies=(
            *([_GATED] if gated else []),
            "Download its files where there is a network, and import them:"
            f" `tuneyard models import FOLDER --name {stored}`.",
        ),
    )


def _passes(error: Exception) -> bool:
    """Whether a failure may pass by itself: a connection that broke, a hub that is overloaded."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return (_status(error) or 500) >= 500 or _status(error) == 429
    return not isinstance(error, HFValidationError | OfflineModeIsEnabled | RecipeError)


def _status(error: Exception) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


@contextmanager
def _told(hub_id: str, *, name: str) -> Iterator[None]:
    try:
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    except ImportError as error:
        why = "huggingface_hub is not installed on the trainer's machine"
        raise unavailable(hub_id, why, name=name) from error
    try:
        yield
    except (HfHubHTTPError, HFValidationError) as error:
        code = _status(error) or 0
        told = _REFUSALS.get(code, f"the hub refuses it ({code or 'the id is none of a hub'})")
        raise unavailable(hub_id, told, name=name, gated=code in (401, 403)) from error
    except OfflineModeIsEnabled as error:
        raise unavailable(hub_id, "this trainer is set to work offline", name=name) from error
    except RecipeError:
        raise
    except Exception as error:  # of whichever library carries the request
        raise unavailable(hub_id, f"the hub cannot be reached ({type(error).__name__})", name=name) from error
