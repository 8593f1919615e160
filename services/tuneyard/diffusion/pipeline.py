"""A base model's pipeline on disk, in the layout of diffusers: its parts are loaded one by one, when needed.

Safetensors only, no foreign code, no hub. Where the folder comes from is not decided here.
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import diffusers as untyped_diffusers
import torch
import transformers as untyped_transformers
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from torch import nn
from transformers.utils import logging as transformers_logging

from tuneyard.diffusion.safe_pipeline import TOKENIZERS, Kind, PipelineIndex, check_pipeline
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.safe_json import read_json, refused

_diffusers: Any = untyped_diffusers
_transformers: Any = untyped_transformers
_SHOWN = 5


@dataclass(frozen=True)
class Pipeline:
    """A checked folder."""

    folder: Path
    index: PipelineIndex

    @property
    def kind(self) -> Kind:
        """Which family of models it is of."""
        return self.index.kind

    def load_network(self, *, dtype: torch.dtype, device: torch.device) -> nn.Module:
        """The UNet or transformer: frozen, in evaluation mode. Raises RecipeError BASE_MODEL_UNAVAILABLE."""
        return self._load(self.index.network, dtype, device)

    def load_vae(self, *, device: torch.device) -> nn.Module:
        """The VAE, in fp32 whatever the run's precision: SDXL's overflows in fp16. Raises as above."""
        return self._load("vae", torch.float32, device)

    def load_text_encoders(self, *, dtype: torch.dtype, device: torch.device) -> dict[str, nn.Module]:
        """Those that are there, by their names in the pipeline. Raises as above."""
        return {name: self._load(name, dtype, device) for name in self.index.text_encoders}

    def load_tokenizers(self) -> dict[str, Any]:
        """Those that are there, by their names in the pipeline. Raises as above."""
        return {name: self._load_tokenizer(name) for name in TOKENIZERS if name in self.index.parts}

    def config(self, part: str) -> dict[str, Any]:
        """The config.json of a part, or its scheduler_config.json."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return read_json(self.folder / part / name)

    def load_scheduler(self) -> Any:
        """The scheduler that the pipeline makes pictures with."""
        class_: Any = getattr(_diffusers, self.index.parts["scheduler"])
        return class_.from_config(self.config("scheduler"))

    def assemble(self, parts: Mapping[str, Any]) -> Any:
        """diffusers' pipeline of these parts; those left out are None, but for the scheduler and the
        tokenizers, which are loaded: prompts may then be given as embeddings only.
        """
        class_: Any = getattr(_diffusers, self.index.class_name)
        known = {
            name: None for name in (*self.index.parts, "text_encoder_3", "tokenizer_3", "image_encoder")
        } | {"safety_checker": None, "feature_extractor": None}
        wanted = _arguments(class_)
        given = {**known, "scheduler": self.load_scheduler(), **self.load_tokenizers(), **parts}
        taken = {**self.index.settings, **given}
        pipeline = class_(**{name: value for name, value in taken.items() if name in wanted})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sha256(self, *parts: str) -> str:
        """The SHA-256 over the files of some parts, in hex: what caches know them by."""
        whole = hashlib.sha256()
        for part in parts:
            for path in sorted(path for path in (self.folder / part).rglob("*") if path.is_file()):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                whole.update(f"{digest}  {path.relative_to(self.folder).as_posix()}\n".encode())
        return whole.hexdigest()

    def _load(self, name: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
        module, _ = self.load_part(name, dtype=dtype)
        module.requires_grad_(False)
        return module.eval().to(device)

    def load_part(self, name: str, *, dtype: torch.dtype) -> tuple[nn.Module, list[str]]:
        """A part, and the names of the weights that its files lack. Raises as above."""
        class_name, folder = self.index.parts[name], str(self.folder / name)
        settings: dict[str, Any] = {
            "use_safetensors": True,
            "local_files_only": True,
            "output_loading_info": True,
        }
        with quietly(), loading(f"base model's {name}"):
            if hasattr(_diffusers, class_name):
                class_: Any = getattr(_diffusers, class_name)
                loaded, info = class_.from_pretrained(folder, torch_dtype=dtype, **settings)
            else:
                class_ = getattr(_transformers, class_name)
                loaded, info = class_.from_pretrained(
                    folder, dtype=dtype, trust_remote_code=False, **settings
                )
        return cast(nn.Module, loaded), sorted(map(str, info["missing_keys"]))

    def _load_tokenizer(self, name: str) -> Any:
        class_name = self.index.parts[name].removesuffix("Fast")
        with quietly(), loading(f"base model's {name}"):
            return getattr(_transformers, class_name).from_pretrained(
                str(self.folder / name), local_files_only=True, trust_remote_code=False
            )


def open_pipeline(folder: Path) -> Pipeline:
    """The pipeline in a folder; nothing is loaded yet. Raises RecipeError as `check_pipeline`."""
    return Pipeline(folder, check_pipeline(folder))


def check_weights(pipeline: Pipeline, part: str) -> None:
    """Loads a part as training would, and raises RecipeError BASE_MODEL_UNAVAILABLE where weights are missing
    or not finite.
    """
    module, missing = pipeline.load_part(part, dtype=_stored_dtype(pipeline.folder / part))
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise refused(
            f"The base model's {part} lacks weights: {', '.join(missing[:_SHOWN])}{more}.",
            "Import the model again, as it was published.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    for name, value in module.named_parameters():
        if not torch.isfinite(value).all():
            raise refused(
                f"{name} of the base model's {part} holds values that are not finite: the weights"
                " are of no use.",
                "Import another copy of the model.",
                reason="BASE_MODEL_UNAVAILABLE",
            )


def latent_scale(vae: nn.Module) -> int:
    """How many pixels of a side become one of the latents."""
    config: Any = cast(Any, vae).config
    return int(2 ** (len(config.block_out_channels) - 1))


def _stored_dtype(folder: Path) -> torch.dtype:
    """Of a part's first weight: loaded as it is stored, no copy is made."""
    with (
        loading(f"base model's {folder.name}"),
        safe_open(min(folder.glob("*.safetensors")), framework="pt") as file,
    ):
        kind = file.get_slice(min(file.keys())).get_dtype()
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)


def _arguments(class_: Any) -> frozenset[str]:
    return frozenset(inspect.signature(class_.__init__).parameters)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """What the libraries raise within it becomes RecipeError BASE_MODEL_UNAVAILABLE about what is named."""
    try:
        yield
    except Exception as error:  # the libraries raise nearly anything on files that they do not like
        if is_out_of_memory(error) or isinstance(error, MemoryError | RecipeError):
            raise
        raise refused(
            f"The {what} cannot be loaded ({type(error).__name__}): its files are incomplete,"
            " damaged, or of a release of diffusers that this one does not know.",
            "Import the model again, with its *.safetensors files and configs.",
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Progress bars and reports of the libraries are not for the job's log."""
    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()
