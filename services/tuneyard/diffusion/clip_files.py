"""A CLIP model's files, in the layout of transformers: which matter, what they must say, and its sizes.

Imports no torch: imports, fetching from a hub and estimates share it. What the model says of pictures is
`clip_score`'s business.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tuneyard.diffusion.safe_pipeline import PICKLES, refuse_pickle
from tuneyard.trainer.safe_json import read_json, refuse_code, refused

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
PREPROCESSOR = "preprocessor_config.json"
"""What is done to pictures, as it is stored here."""
_PROCESSOR = "processor_config.json"
"""Newer releases of transformers keep it in here, under `image_processor`."""
_TOKENIZER_FILES = ("tokenizer.json", TOKENIZER_CONFIG, "special_tokens_map.json", "vocab.json", "merges.txt")
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
_PICTURE_SETTINGS = (
    "crop_size",
    "do_center_crop",
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
)
_MODEL_TYPE = "clip"
_AGAIN = "Import the folder again, as `CLIPModel` and `CLIPProcessor` save it."


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What memory and disk depend on."""

    parameters: int
    stored_bytes: int
    """Of its weights' files."""

    def to_json(self) -> str:
        """The facts as JSON, which tells them from a pipeline's."""
        return json.dumps({"kind": _MODEL_TYPE, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The facts again; ValueError for those of anything else."""
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("kind") != _MODEL_TYPE:
            raise ValueError("these are no facts of a CLIP model")
        return cls(**{name: int(found[name]) for name in cls.__dataclass_fields__})


def is_clip(folder: Path) -> bool:
    """Whether a folder's config.json says that it holds a CLIP model; False where there is none."""
    if not (folder / CONFIG).is_file():
        return False
    return read_json(folder / CONFIG).get("model_type") == _MODEL_TYPE


def clip_files(there: Collection[str]) -> list[str]:
    """Those of a folder's or a repository's files that are wanted."""
    wanted = {CONFIG, PREPROCESSOR, _PROCESSOR, *_TOKENIZER_FILES}
    return sorted(name for name in there if name in wanted or _WEIGHTS.fullmatch(name))


def stored_files(there: Collection[str]) -> list[str]:
    """Those that are stored as they are: settings of pictures are written anew."""
    return [name for name in clip_files(there) if name not in (PREPROCESSOR, _PROCESSOR)]


def has_weights(there: Collection[str]) -> bool:
    """Whether there are any that can be read."""
    return any(name.endswith(".safetensors") and _WEIGHTS.fullmatch(name) for name in there)


def check_clip(folder: Path) -> Mapping[str, Any]:
    """What is done to pictures, as the folder's files say. Raises RecipeError: NOT_SUPPORTED where they ask
    for code, BASE_MODEL_UNAVAILABLE where something is missing.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    for name in (CONFIG, TOKENIZER_CONFIG, PREPROCESSOR, _PROCESSOR):
        if name in names:
            refuse_code(read_json(folder / name), name)
    if not has_weights(names):
        if pickled := next((name for name in sorted(names) if Path(name).suffix in PICKLES), None):
            raise refuse_pickle(pickled)
        raise _incomplete("model.safetensors")
    if not names & {"tokenizer.json", "vocab.json"}:
        raise _incomplete("tokenizer.json, or vocab.json and merges.txt")
    settings = _picture_settings(folder, names)
    if not settings:
        raise _incomplete(PREPROCESSOR)
    return settings


def _picture_settings(folder: Path, names: Collection[str]) -> dict[str, Any]:
    for name in (PREPROCESSOR, _PROCESSOR):
        if name in names:
            told = read_json(folder / name)
            inner = told.get("image_processor") if name == _PROCESSOR else told
            if isinstance(inner, dict):
                return {key: inner[key] for key in _PICTURE_SETTINGS if inner.get(key) is not None}
    return {}


def _incomplete(missing: str) -> Exception:
    return refused(f"The CLIP model lacks {missing}.", _AGAIN, reason="BASE_MODEL_UNAVAILABLE")
