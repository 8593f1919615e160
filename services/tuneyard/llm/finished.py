"""A finished fine-tuning's artifacts as a model that can be asked: an adapter on its base, or a whole model.

For trying and for evaluating; nothing is changed. Where the base's files come from is the caller's to say.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedTokenizerBase

from tuneyard.llm.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, without_adapter
from tuneyard.llm.base_model import load_model
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.hub import cached_base
from tuneyard.llm.precision import Precision, autocast, base_dtype, dtype_of
from tuneyard.llm.quantization import loading_settings
from tuneyard.llm.templates import ChatTemplate, chat_template
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.recipes.precision import nearest_precision
from tuneyard.trainer.errors import RecipeError, base_gone
from tuneyard.trainer.hub_models import Cached

_OWN_TEMPLATE = "tokenizer"


@dataclass(frozen=True)
class StoredModel:
    """A finished job's artifacts in a local folder."""

    folder: Path
    """With the weights, as transformers or peft reads them."""
    is_adapter: bool
    manifest: Mapping[str, Any]
    """What the training wrote down; empty where that is not at hand."""

    @classmethod
    def read(cls, artifacts: Path) -> "StoredModel":
        """Raises RecipeError MODEL_NOT_FOUND where there is neither an adapter nor a model."""
        path = artifacts / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if (artifacts / "adapter" / ADAPTER_CONFIG).exists():
            return cls(artifacts / "adapter", True, manifest)
        if (artifacts / "model" / "config.json").exists():
            return cls(artifacts / "model", False, manifest)
        raise RecipeError(
            "The job's artifacts hold neither an adapter nor a model.",
            reason="MODEL_NOT_FOUND",
            remedies=("Run the training again.",),
        )

    def require_base(self, sha256: str, *, name: str) -> None:
        """Raises RecipeError BASE_MODEL_UNAVAILABLE if a base of this hash is another than was trained on."""
        known = (self.manifest.get("base") or {}).get("sha256")
        if known and sha256 and known != sha256:
            raise RecipeError(
                f"{name} holds other weights than those that the adapter was trained on.",
                reason="BASE_MODEL_UNAVAILABLE",
                remedies=("Import the weights that it was trained on under that name again.",),
            )

    def precision(self, device: torch.device) -> Precision:
        """That of the training where the device does it well, else the nearest that it does."""
        return nearest_precision(self.manifest.get("precision", "bf16"), device)


@dataclass
class FinishedLanguageModel:
    """A model with its tokenizer and its way to write conversations, ready to be asked."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    precision: Precision
    computing: Callable[[], AbstractContextManager[None]]
    """The context of forward passes."""
    load_base: Callable[[], nn.Module]
    """Loads the base beside a model that was trained whole."""
    ends: frozenset[int] = field(default=frozenset())
    """Tokens that end answers by the chat template."""
    _base: nn.Module | None = None

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """The base model, within the context alone: for an adapter it is the same model, the adapter silent.

        Raises what `load_base` does.
        """
        if isinstance(self.model, PeftModel):
            with without_adapter(self.model):
                yield self.model
            return
        if self._base is None:
            self._base = self.load_base()
        yield self._base


def load_finished(
    stored: StoredModel,
    config: LanguageModelConfig,
    base_folder: Callable[[], Path],
    *,
    device: torch.device,
    as_trained: bool = False,
) -> FinishedLanguageModel:
    """Loads a finished model; `base_folder` fetches its base where it is needed.

    `as_trained` computes as the training's evaluations do, for numbers that can be compared, also where less
    memory would serve. Raises RecipeError, and what `base_folder` does.
    """
    precision = stored.precision(device)
    whole = as_trained and not stored.is_adapter
    dtype = base_dtype(precision, "full") if whole else dtype_of(precision)

    def load_base() -> nn.Module:
        quantization = config.quantization if stored.is_adapter else None
        settings = loading_settings(quantization, device) if quantization else None
        return load_model(base_folder(), device=device, dtype=dtype, quantization=settings)

    # Training changes no tokenizer: that beside an adapter is the base's.
    tokenizer = load_tokenizer(base_folder() if stored.is_adapter else stored.folder)
    template = chat_template(tokenizer, _template_name(stored, config))
    if stored.is_adapter:
        model: nn.Module = _with_adapter(load_base(), stored.folder, device=device)
    else:
        model = load_model(stored.folder, device=device, dtype=dtype)

    def computing() -> AbstractContextManager[None]:
        # A model that is held in half precision as a whole computes in it by itself.
        if not (whole or stored.is_adapter):
            return nullcontext()
        return autocast(precision, device, "full" if whole else config.method)

    return FinishedLanguageModel(
        model=model.eval(),
        tokenizer=tokenizer,
        template=template,
        precision=precision,
        computing=computing,
        load_base=load_base,
        ends=_ends(tokenizer, template),
    )


def hub_base(stored: StoredModel, config: LanguageModelConfig, cached: Cached | None) -> Path:
    """The files of a base that is not in the store, as it was trained on: what is cached of it, or the hub's.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    if cached is None or config.base_model.startswith("models/"):
        raise base_gone(config.base_model)
    folder, commit = cached_base(config.base_model, config.base_model_revision, cached)
    trained_on = (stored.manifest.get("base") or {}).get("revision") or commit
    if commit != trained_on:
        folder, _ = cached_base(config.base_model, trained_on, cached)
    return folder


def _template_name(stored: StoredModel, config: LanguageModelConfig) -> str:
    name = stored.manifest.get("template", config.chat_template)
    return "" if name == _OWN_TEMPLATE else str(name)


def _ends(tokenizer: Any, template: ChatTemplate) -> frozenset[int]:
    number = tokenizer.get_vocab().get(template.end_token)
    return frozenset() if number is None else frozenset({number})


def _with_adapter(base: nn.Module, folder: Path, *, device: torch.device) -> PeftModel:
    model = PeftModel.from_pretrained(
        cast(Any, base), str(folder), is_trainable=False, torch_device=str(device)
    )
    # peft only warns of weights that found no place, and of places that found no weights.
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
    taken = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != taken:
        raise RecipeError(
            f"The adapter does not fit the base model: {len(stored ^ taken)} of its weights have no place in"
            " it, or are missing.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=("Import the base model that the adapter was trained on.",),
        )
    return model
