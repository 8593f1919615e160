"""Which pipelines are taken at all: text-to-image ones of known kinds, made of the libraries' own parts.

Reads only names and the JSON files beside the weights; no torch here, so that conversion and admission share
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.safe_json import read_json, refuse_code, refused

INDEX = "model_index.json"
Kind = Literal["sd", "sdxl", "sd3"]

_LIBRARIES = ("diffusers", "transformers")
_KINDS: dict[str, Kind] = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
}
_SD_PARTS: dict[str, tuple[str, ...]] = {
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "unet": ("UNet2DConditionModel",),
}
_CLIP_PAIR = {
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer": _SD_PARTS["tokenizer"],
    "tokenizer_2": _SD_PARTS["tokenizer"],
}
REQUIRED: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "sd": _SD_PARTS,
    "sdxl": {**_SD_PARTS, **_CLIP_PAIR},
    "sd3": {
        "vae": _SD_PARTS["vae"],
        "text_encoder": ("CLIPTextModelWithProjection",),
        "transformer": ("SD3Transformer2DModel",),
        **_CLIP_PAIR,
    },
}
"""The parts that a kind must have, and the classes that they may be of."""
OPTIONAL: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "sd": {},
    "sdxl": {},
    "sd3": {
        "text_encoder_3": ("T5EncoderModel",),
        "tokenizer_3": ("T5Tokenizer", "T5TokenizerFast"),
    },
}
"""Of these, those that are there are used: SD3 does without its largest text encoder."""
_ABSENT: Mapping[Kind, tuple[str, ...]] = {
    "sd": ("safety_checker", "feature_extractor", "image_encoder"),
    "sdxl": ("feature_extractor", "image_encoder"),
    "sd3": ("feature_extractor", "image_encoder", "text_encoder_3", "tokenizer_3"),
}
"""What an index says to be absent, so that plain diffusers does not ask for it."""
_SETTINGS = ("force_zeros_for_empty_prompt",)
"""What of an index is kept beside the parts."""
_SCHEDULERS = frozenset(
    {
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "UniPCMultistepScheduler",
    }
)
NETWORKS = {"sd": "unet", "sdxl": "unet", "sd3": "transformer"}
"""What the network that denoises is called."""
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_AGAIN = "Import the folder again, as it was published in the layout of diffusers."


@dataclass(frozen=True, kw_only=True)
class PipelineIndex:
    """What a checked model_index.json says."""

    kind: Kind
    class_name: str
    """The pipeline's class in diffusers."""
    parts: Mapping[str, str]
    """The class of each part that is used, the scheduler among them."""
    settings: Mapping[str, Any]
    """What it holds beside the parts, such as `force_zeros_for_empty_prompt`."""

    @property
    def network(self) -> str:
        """The name of the part that denoises."""
        return NETWORKS[self.kind]

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The names of those that are there."""
        return tuple(name for name in TEXT_ENCODERS if name in self.parts)

    @property
    def weighty(self) -> tuple[str, ...]:
        """The names of the parts that have weights."""
        return (self.network, "vae", *self.text_encoders)

    def to_json(self) -> dict[str, Any]:
        """As model_index.json, without what is not used."""
        parts: dict[str, Any] = {
            name: ["transformers" if name.startswith(("text", "token")) else "diffusers", class_name]
            for name, class_name in self.parts.items()
        }
        absent = {name: [None, None] for name in _ABSENT[self.kind] if name not in parts}
        return {"_class_name": self.class_name, **parts, **absent, **self.settings}


def check_pipeline(folder: Path) -> PipelineIndex:
    """The folder's index, once every JSON file beside the weights was found to be harmless.

    Raises RecipeError: BASE_MODEL_UNAVAILABLE where the folder holds no such pipeline, NOT_SUPPORTED where it
    asks for code, for another kind of pipeline, or has pickled weights only.
    """
    index = check_configs(folder)
    for name in index.weighty:
        _check_weights(folder, name)
    return index


def check_configs(folder: Path) -> PipelineIndex:
    """As `check_pipeline`, whatever weights there are."""
    path = folder / INDEX
    if not path.is_file():
        raise refused(
            f"The base model has no {INDEX}: it is no pipeline in the layout of diffusers.",
            "Import the folder that `save_pretrained` of a pipeline wrote, the model's id on the hub, or a"
            " checkpoint in one .safetensors file.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    index = check_index(read_json(path))
    for name in index.parts:
        _check_part(folder, name)
    for name in index.weighty:
        if not (folder / name / "config.json").is_file():
            raise refused(f"The pipeline has no {name}/config.json.", _AGAIN, reason="BASE_MODEL_UNAVAILABLE")
    return index


def check_index(index: Mapping[str, Any]) -> PipelineIndex:
    """Whether a model_index.json names a known kind of pipeline and nothing but the libraries' own classes;
    raises as `check_pipeline`.
    """
    refuse_code(index, INDEX)
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or class_name not in _KINDS:
        # A list names a file of the repository as well: a pipeline of its own.
        told = class_name if isinstance(class_name, str) else f"one of its own ({class_name})"
        raise refused(
            f"The base model's pipeline is {told}; trained here are {', '.join(_KINDS)}.",
            "Choose Stable Diffusion 1.5, 2.x, XL or 3 as published for text-to-image.",
        )
    kind = _KINDS[class_name]
    parts = {name: _class_of(name, value) for name, value in index.items() if isinstance(value, list)}
    there = {name: found for name, found in parts.items() if found}
    allowed = {**REQUIRED[kind], **OPTIONAL[kind]}
    used = {}
    for name, classes in allowed.items():
        if name not in there:
            if name in REQUIRED[kind]:
                raise refused(f"The pipeline has no {name}.", _AGAIN, reason="BASE_MODEL_UNAVAILABLE")
            continue
        if there[name] not in classes:
            raise refused(
                f"The pipeline's {name} is of the class {there[name]}, not {' or '.join(classes)}.",
                "Choose a pipeline with the usual parts: distilled and changed ones are not trained here.",
            )
        used[name] = there[name]
    if kind == "sd3" and ("text_encoder_3" in used) != ("tokenizer_3" in used):
        raise refused(
            "The pipeline has only one of text_encoder_3 and tokenizer_3.",
            _AGAIN,
            reason="BASE_MODEL_UNAVAILABLE",
        )
    scheduler = there.get("scheduler", "")
    if scheduler not in _SCHEDULERS or ((kind == "sd3") != scheduler.startswith("FlowMatch")):
        raise refused(
            f"The pipeline's scheduler, {scheduler or 'which is missing'}, is none that suits it.",
            _AGAIN,
        )
    used["scheduler"] = scheduler
    settings = {name: index[name] for name in _SETTINGS if isinstance(index.get(name), bool)}
    if kind == "sd":
        settings["requires_safety_checker"] = False
    return PipelineIndex(kind=kind, class_name=class_name, parts=used, settings=settings)


def _check_part(folder: Path, name: str) -> None:
    for path in sorted((folder / name).glob("*.json")):
        # Vocabularies and indexes of weights hold no settings, and words may be anything.
        if path.name in ("vocab.json", "tokenizer.json") or path.name.endswith(".index.json"):
            continue
        refuse_code(read_json(path), f"{name}/{path.name}")


def _check_weights(folder: Path, name: str) -> None:
    names = {path.name for path in (folder / name).iterdir() if path.is_file()}
    if any(each.endswith(".safetensors") for each in names):
        return
    if pickles := sorted(each for each in names if each.endswith(PICKLES)):
        raise refuse_pickle(f"{name}/{pickles[0]}")
    raise refused(f"The pipeline has no weights of its {name}.", _AGAIN, reason="BASE_MODEL_UNAVAILABLE")


def refuse_pickle(file: str) -> RecipeError:
    """The error of weights that are pickled: unpickling runs whatever the file says."""
    return refused(
        f"The weights are pickled ({file}), and pickles can run any code: they are not read.",
        "Import the model's *.safetensors files; or load it with diffusers where you trust it, call"
        " save_pretrained, and import what it wrote.",
    )


def _class_of(name: str, value: list[Any]) -> str:
    """The class that an entry of the index names, "" for none; whatever is not the libraries' is refused."""
    match value:
        case [None, None]:
            return ""
        case [str() as library, str() as class_name] if library in _LIBRARIES:
            return class_name
        # The safety checker is diffusers' own, by the path of its module; it is never loaded.
        case ["stable_diffusion", str() as class_name] if name == "safety_checker":
            return class_name
        case _:
            raise refused(
                f"The pipeline's {name} comes from {value[0] if value else 'nowhere'}, which is none of the"
                " libraries: code that comes with a model is never run here.",
                "Choose a pipeline whose parts are those of diffusers and transformers.",
            )
