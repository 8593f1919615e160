"""Finished text-to-image LoRAs, asked by the inference service's requests: a prompt in, pictures out."""

import io
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tuneyard.diffusion.config import TextToImageConfig, text_to_image_config
from tuneyard.diffusion.drawing import Artist, Wish
from tuneyard.diffusion.finished import StoredLora, load_finished
from tuneyard.diffusion.hub import cached_base
from tuneyard.trainer.errors import RecipeError, base_gone
from tuneyard.trainer.finished_model import Answerer, BadInput, FinishedModel, InferenceError
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1.trainer_service_pb2 import StartRunRequest

_DEFAULT_STEPS, _DEFAULT_GUIDANCE, _DEFAULT_SCALE = 30, 7.5, 1.0
_SEED_BITS = 32
_LARGEST_ANSWER_BYTES = 30 << 20
"""What an answer may weigh on its way."""


def open_model(model: FinishedModel) -> Answerer:
    """A finished training's model. Raises InferenceError NOT_SUPPORTED, RecipeError."""
    torch.set_num_threads(model.cpu_threads)
    task = model.spec.training.WhichOneof("task")
    if task != "text_to_image_lora":
        raise InferenceError("NOT_SUPPORTED", f"This trainer does not serve {task} models.")
    config = text_to_image_config(StartRunRequest(spec=model.spec))
    stored, device = StoredLora.read(model.dir), torch.device(model.device)
    try:
        folder = base_folder(model, stored, config)
        artist = Artist(load_finished(stored, config, folder, device=device), device=device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        text = "The model does not fit into the memory that is left."
        raise RecipeError(text, reason="OUT_OF_MEMORY") from error
    return _Drawn(artist, side=config.resolution)


def base_folder(model: FinishedModel, stored: StoredLora, config: TextToImageConfig) -> Path:
    """The base model's files: from the store, else from the hub or what is cached of it.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    folder = model.base()
    if folder is None:
        if config.base_model.startswith("models/"):
            raise base_gone(config.base_model)
        trained_on = stored.trained_on
        revision = trained_on.revision if trained_on else config.base_model_revision
        # Of a run, only its cache is needed, which this model has too.
        folder, _ = cached_base(config.base_model, revision, cast(Any, model).cached)
    stored.require_base(model.base_sha256, name=config.base_model)
    stay_offline()
    return folder


class _Drawn:
    def __init__(self, artist: Artist, *, side: int) -> None:
        self._artist = artist
        self._side = side

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        if method != "GenerateImages":
            text = f"A text-to-image model does not answer {method}: call GenerateImages."
            raise InferenceError("NOT_SUPPORTED", text)
        question = pb.GenerateImagesRequest.FromString(request)
        wish = self._wish(question)
        first = question.seed if question.HasField("seed") else secrets.randbits(_SEED_BITS)
        began, answer = time.monotonic(), pb.GenerateImagesResponse()
        for number in range(_given(question, "count", 1)):
            # Each has a seed of its own, so that any of them can be drawn again alone.
            seed = first + number
            png = as_png(self._artist.draw(wish, seed=seed, check=check), wish, seed=seed)
            if answer.ByteSize() + len(png) > _LARGEST_ANSWER_BYTES:
                raise InferenceError(
                    "INVALID_FIELD", f"Only {number} pictures of this size fit into an answer: ask for fewer."
                )
            answer.images.add(png=png, seed=seed)
            check()
        answer.elapsed.FromTimedelta(timedelta(seconds=time.monotonic() - began))
        yield answer.SerializeToString()

    def _wish(self, question: pb.GenerateImagesRequest) -> Wish:
        """Raises BadInput."""
        usual = max(1, self._side // self._artist.multiple) * self._artist.multiple
        width, height = _given(question, "width", usual), _given(question, "height", usual)
        faults = [
            (field, f"{value} px is no multiple of {self._artist.multiple}")
            for field, value in (("width", width), ("height", height))
            if value % self._artist.multiple
        ]
        if not question.prompt.strip():
            faults.append(("prompt", "the text is empty"))
        if faults:
            raise BadInput(faults)
        return Wish(
            prompt=question.prompt,
            negative_prompt=question.negative_prompt,
            steps=_given(question, "steps", _DEFAULT_STEPS),
            guidance_scale=_given(question, "guidance_scale", _DEFAULT_GUIDANCE),
            width=width,
            height=height,
            lora_scale=_given(question, "lora_scale", _DEFAULT_SCALE),
        )


def as_png(image: Image.Image, wish: Wish, *, seed: int) -> bytes:
    """The picture as a file that says how it was made, in the words that programs for pictures read."""
    told, file = PngInfo(), io.BytesIO()
    avoided = f"\nNegative prompt: {wish.negative_prompt}" if wish.negative_prompt else ""
    told.add_itxt(
        "parameters",
        f"{wish.prompt}{avoided}\nSteps: {wish.steps}, CFG scale: {wish.guidance_scale:g}, Seed: {seed},"
        f" Size: {image.width}x{image.height}, LoRA scale: {wish.lora_scale:g}",
    )
    image.save(file, format="PNG", pnginfo=told)
    return file.getvalue()


def _given(question: pb.GenerateImagesRequest, field: Any, default: Any) -> Any:
    return getattr(question, field) if question.HasField(field) else default
