"""How well pictures show what was asked for: CLIP's score (Hessel et al. 2021, arXiv 2104.08718).

It is counted as torchmetrics does: 100 times the mean cosine of pictures and prompts, at least 0. Scores of
different CLIP models cannot be compared.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as untyped_transformers
from PIL import Image
from torch import Tensor

from tuneyard.diffusion.clip_files import PREPROCESSOR
from tuneyard.diffusion.pipeline import loading, quietly
from tuneyard.trainer.safe_json import read_json, refused

METRIC = "eval/clip_score"
_transformers: Any = untyped_transformers

Judge = Callable[[Sequence[Image.Image], Sequence[str]], float]
"""Scores pictures by their prompts."""


class Clip:
    """A CLIP model, loaded for one look: nothing of it stays on the device."""

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        self._folder = folder
        self._device = device

    def score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> float:
        """The score of pictures, each beside its prompt. Raises RecipeError BASE_MODEL_UNAVAILABLE."""
        model = load_clip(self._folder)[0].eval().to(self._device)
        inputs = self._inputs(pictures, prompts, length=model.config.text_config.max_position_embeddings)
        return score_of(model, inputs)

    def _inputs(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], *, length: int
    ) -> dict[str, Tensor]:
        """What does not fit into the text encoder is cut off."""
        with quietly(), loading("CLIP model's tokenizer"):
            tokenizer = _transformers.CLIPTokenizer.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )
            looks = _transformers.CLIPImageProcessor(**read_json(self._folder / PREPROCESSOR))
        texts = tokenizer(
            list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        pixels = looks([picture.convert("RGB") for picture in pictures], return_tensors="pt").pixel_values
        return {
            name: value.to(self._device)
            for name, value in (
                ("input_ids", texts.input_ids),
                ("attention_mask", texts.attention_mask),
                ("pixel_values", pixels),
            )
        }


@torch.no_grad()
def score_of(model: Any, inputs: dict[str, Tensor]) -> float:
    """Of as many pictures as texts."""
    found = model(**inputs)
    cosines = (found.image_embeds * found.text_embeds).sum(dim=-1)
    return max(0.0, 100 * float(cosines.float().mean()))


def load_clip(folder: Path) -> tuple[Any, list[str]]:
    """The model in fp32, and the names of the weights that its files lack.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    with quietly(), loading("CLIP model"):
        model, info = _transformers.CLIPModel.from_pretrained(
            str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    return model.requires_grad_(False), sorted(map(str, info["missing_keys"]))


def check_clip_model(folder: Path) -> Any:
    """The model, after it has looked at a picture: what does not belong together is found now.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    model, missing = load_clip(folder)
    again = "Import the model again, as it was published."
    if missing:
        raise refused(
            f"The CLIP model lacks weights, {missing[0]} among them.", again, reason="BASE_MODEL_UNAVAILABLE"
        )
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise refused(
            "The CLIP model has weights that are not finite.", again, reason="BASE_MODEL_UNAVAILABLE"
        )
    with loading("CLIP model"):
        Clip(folder, device=torch.device("cpu")).score([Image.new("RGB", (32, 32))], ["a picture"])
    return model
