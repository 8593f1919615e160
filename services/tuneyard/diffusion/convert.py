"""Turns an imported text-to-image model into what runs start from: a pipeline in the layout of diffusers with
safetensors, and nothing beside it; or a CLIP model into what scores pictures.

Called in a process of its own (see `tuneyard.trainer.convert_child`), because the files are strangers'. What
is right already is linked, not copied; nothing but the wanted files is taken.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tuneyard.diffusion import hub, meta_facts, single_file
from tuneyard.diffusion.clip_files import PREPROCESSOR, ClipFacts, check_clip, is_clip, stored_files
from tuneyard.diffusion.clip_score import check_clip_model
from tuneyard.diffusion.pipeline import Pipeline, check_weights, open_pipeline
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.pipeline_files import SCHEDULER_CONFIG, checkpoint_files, pipeline_files
from tuneyard.diffusion.safe_pipeline import (
    INDEX,
    PICKLES,
    TEXT_ENCODERS,
    TOKENIZERS,
    PipelineIndex,
    check_configs,
    check_pipeline,
    refuse_pickle,
)
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.linking import link_or_copy
from tuneyard.trainer.safe_json import refused

TASK = "text_to_image_lora"
_NAMES = {"sd": "Stable Diffusion", "sdxl": "Stable Diffusion XL", "sd3": "Stable Diffusion 3"}


@dataclass(frozen=True)
class _Source:
    """What was received: a pipeline's folder, or one checkpoint and maybe a folder with its configs."""

    folder: Path | None = None
    checkpoint: Path | None = None


def convert(files: ModelFiles) -> Converted:
    """A checked folder in the layout of diffusers; raises RecipeError with what is wrong."""
    revision = hub.fetch(files.hub_id, files.source, revision=files.revision) if files.hub_id else ""
    if (clip := _clip_folder(files.source)) is not None:
        return _converted_clip(clip, files.result, revision=revision)
    source = _recognised(files.source)
    if source.checkpoint is None:
        assert source.folder is not None
        _take_folder(source.folder, files.result)
    else:
        with TemporaryDirectory() as fetched:
            configs = source.folder or _published_configs(source.checkpoint, Path(fetched))
            _take_checkpoint(source.checkpoint, configs, files.result)
    pipeline = open_pipeline(files.result)
    _check(pipeline)
    facts = meta_facts.facts_of(files.result)
    return Converted(
        architecture=pipeline.index.class_name,
        detail=_detail(pipeline, facts),
        tasks=(TASK,),
        revision=revision,
        facts=facts.to_json(),
    )


def _clip_folder(source: Path) -> Path | None:
    """The folder with a CLIP model, where the files are one; a ZIP may have put them into one folder."""
    inner = [path for path in source.iterdir() if path.is_dir()]
    places = (source, *(inner if len(inner) == 1 else ()))
    if any((place / INDEX).is_file() for place in places):
        return None
    return next((place for place in places if is_clip(place)), None)


def _converted_clip(folder: Path, result: Path, *, revision: str) -> Converted:
    settings = check_clip(folder)
    for name in stored_files([path.name for path in folder.iterdir()]):
        _link(folder / name, result / name)
    single_file.write_json(result / PREPROCESSOR, settings)
    model = check_clip_model(result)
    facts = ClipFacts(
        parameters=sum(weight.numel() for weight in model.parameters()),
        stored_bytes=sum(path.stat().st_size for path in result.glob("*.safetensors")),
    )
    return Converted(
        architecture=type(model).__name__,
        detail=f"CLIP, {_weights(facts.parameters)} weights: scores pictures where it is named as clip_model",
        tasks=(),
        revision=revision,
        facts=facts.to_json(),
    )


def _recognised(source: Path) -> _Source:
    """What the files are, by their names; a ZIP may have put all of them into one folder."""
    folders = [source] if (source / INDEX).is_file() else [path.parent for path in source.glob(f"*/{INDEX}")]
    if (folder := folders[0] if len(folders) == 1 else None) is not None and _has_weights(folder):
        return _Source(folder=folder)
    for place in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        found = checkpoint_files([path.name for path in place.iterdir() if path.is_file()])
        if len(found) == 1:
            return _Source(folder=folder, checkpoint=place / found[0])
        if found:
            raise refused(
                f"There are several checkpoints: {', '.join(found[:4])}.",
                "Import one .safetensors file, or a folder in the layout of diffusers.",
                reason="BASE_MODEL_UNAVAILABLE",
            )
    if folder is not None:
        return _Source(folder=folder)
    if pickled := next((path for path in sorted(source.rglob("*")) if path.suffix in PICKLES), None):
        raise refuse_pickle(pickled.name)
    raise refused(
        f"The files are no text-to-image model: there is neither {INDEX} nor a .safetensors checkpoint.",
        "Import the folder that `save_pretrained` of a pipeline wrote, or one .safetensors checkpoint; a"
        " CLIP model, to score pictures, is a folder with its config.json.",
        reason="BASE_MODEL_UNAVAILABLE",
    )


def _has_weights(folder: Path) -> bool:
    return any(path.parent != folder for path in folder.rglob("*.safetensors"))


def _take_folder(folder: Path, result: Path) -> None:
    index = check_pipeline(folder)
    for name, stored in pipeline_files(_names(folder), index).items():
        _link(folder / name, result / stored)
    _write_index(index, result)


def _published_configs(checkpoint: Path, folder: Path) -> Path:
    """Fetches what describes checkpoints of this kind into the folder; raises BASE_MODEL_UNAVAILABLE."""
    known = single_file.published(single_file.kind_of(checkpoint))
    try:
        hub.fetch_configs(known.hub_id, folder, revision=known.revision)
    except RecipeError as error:
        raise refused(
            f"{checkpoint.name} holds weights only, and what belongs to them could not be fetched:"
            f" {error.message}",
            "Put model_index.json and the folders with configs and tokenizers of a pipeline of its kind"
            f" (such as {known.hub_id}) beside the checkpoint, and import the folder.",
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error
    return folder


def _take_checkpoint(checkpoint: Path, configs: Path, result: Path) -> None:
    kind = single_file.kind_of(checkpoint)
    index = check_configs(configs)
    if index.kind != kind:
        raise refused(
            f"{checkpoint.name} is {_NAMES[kind]}, and {INDEX} beside it is that of {_NAMES[index.kind]}.",
            "Put the configs of a pipeline of its kind beside the checkpoint.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    single_file.write_parts(checkpoint, configs, index, result)
    for name, stored in pipeline_files(_names(configs), index).items():
        if name.startswith("tokenizer"):
            _link(configs / name, result / stored)
    scheduler = single_file.scheduler_config(checkpoint, configs)
    single_file.write_json(result / SCHEDULER_CONFIG, scheduler)
    _write_index(index, result)


def _check(pipeline: Pipeline) -> None:
    """Loads each part once, as a run will: what is missing or not finite is found now."""
    tokenizers = pipeline.load_tokenizers()
    for part in pipeline.index.weighty:
        check_weights(pipeline, part)
    for name in pipeline.index.text_encoders:
        rows = int(pipeline.config(name)["vocab_size"])
        tokenizer = tokenizers[TOKENIZERS[TEXT_ENCODERS.index(name)]]
        if max(tokenizer.get_vocab().values(), default=-1) >= rows:
            raise refused(
                f"The tokenizer of {name} has tokens beyond its {rows} embeddings: they do not"
                " belong together.",
                "Import the pipeline again, as it was published.",
                reason="BASE_MODEL_UNAVAILABLE",
            )


def _write_index(index: PipelineIndex, result: Path) -> None:
    single_file.write_json(result / INDEX, index.to_json())


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(source, target)


def _detail(pipeline: Pipeline, facts: PipelineFacts) -> str:
    stored = {2: "16", 4: "32", 8: "64"}[facts.dtype_bytes]
    return (
        f"{_NAMES[pipeline.kind]} ({pipeline.index.class_name}), {_weights(facts.parameters)} weights of"
        f" {stored} bits, made for {facts.resolution} px"
    )


def _weights(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 10**9 else f"{count / 1e6:.1f} M"
