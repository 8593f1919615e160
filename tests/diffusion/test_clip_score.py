"""CLIP's score: what is counted, which models are taken for it, and where it is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from tests.support.defects_images import picture
from tests.support.tiny_diffusion import tiny_clip
from tuneyard.diffusion.clip_files import ClipFacts
from tuneyard.diffusion.clip_score import METRIC, Clip, score_of
from tuneyard.diffusion.convert import convert
from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError

CPU = torch.device("cpu")
PROMPTS = ("a red circle", "a cat")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "published")


@pytest.fixture
def changeable(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "changed"))


def imported(source: Path, result: Path) -> Converted:
    result.mkdir()
    return convert(ModelFiles(source=source, result=result))


@pytest.fixture(scope="session")
def stored(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip-store") / "model"
    imported(published, folder)
    return folder


def pictures() -> list[Image.Image]:
    return [picture(seed) for seed in range(len(PROMPTS))]


def test_it_is_the_mean_cosine_of_pictures_and_prompts_times_100(published: Path, stored: Path) -> None:
    model: Any = CLIPModel.from_pretrained(published)
    texts = CLIPTokenizer.from_pretrained(published)(list(PROMPTS), padding=True, return_tensors="pt")
    looks: Any = CLIPImageProcessor.from_pretrained(published)
    with torch.no_grad():
        found = model(**texts, **looks(pictures(), return_tensors="pt"))
        cosines = found.logits_per_image.diagonal() / model.logit_scale.exp()
    score = Clip(stored, device=CPU).score(pictures(), PROMPTS)
    assert score == pytest.approx(100 * float(cosines.mean()), rel=1e-5) and score > 0


def test_each_picture_counts_by_its_own_prompt(stored: Path) -> None:
    clip = Clip(stored, device=CPU)
    alone = [clip.score([each], [prompt]) for each, prompt in zip(pictures(), PROMPTS, strict=True)]
    assert clip.score(pictures(), PROMPTS) == pytest.approx(sum(alone) / len(alone), rel=1e-4)


def test_it_is_never_below_0() -> None:
    class Opposed:
        image_embeds, text_embeds = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])

    assert score_of(lambda **_: Opposed, {}) == 0


def test_what_a_prompt_has_beyond_the_encoders_length_is_cut(stored: Path) -> None:
    clip, long = Clip(stored, device=CPU), "circle " * 100
    assert clip.score([picture(0)], [long]) == clip.score([picture(0)], [long + "a cat"])


def test_a_folder_is_imported_with_its_sizes_and_without_what_is_not_needed(
    changeable: Path, tmp_path: Path
) -> None:
    for name in ("README.md", "pytorch_model.bin", "flax_model.msgpack", "code.py"):
        (changeable / name).write_text("not wanted")
    found = imported(changeable, tmp_path / "result")
    assert (found.architecture, found.tasks) == ("CLIPModel", ())
    weights = load_file(tmp_path / "result" / "model.safetensors")
    facts = ClipFacts.from_json(found.facts)
    assert facts.parameters == sum(weight.numel() for weight in weights.values())
    assert facts.stored_bytes == (tmp_path / "result" / "model.safetensors").stat().st_size
    assert not {"README.md", "pytorch_model.bin", "code.py"} & {
        path.name for path in (tmp_path / "result").iterdir()
    }


def test_a_folder_in_a_zip_s_folder_and_newer_processors_are_understood(
    changeable: Path, stored: Path, tmp_path: Path
) -> None:
    looks = json.loads((changeable / "preprocessor_config.json").read_text())
    (changeable / "preprocessor_config.json").unlink()
    (changeable / "processor_config.json").write_text(json.dumps({"image_processor": looks}))
    outer = tmp_path / "outer"
    outer.mkdir()
    changeable.rename(outer / "clip")
    imported(outer, tmp_path / "result")
    scores = [Clip(folder, device=CPU).score(pictures(), PROMPTS) for folder in (stored, tmp_path / "result")]
    assert scores[0] == scores[1]


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_settings(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def without_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").unlink()


def with_code(folder: Path) -> None:
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["auto_map"] = {"AutoImageProcessor": "code.Looks"}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def with_gaps(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_infinity(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = torch.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_too_many_tokens(folder: Path) -> None:
    vocab = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({token: at + 10_000 for token, at in vocab.items()}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_weights, "pickle"),
        (without_settings, "lacks preprocessor_config.json"),
        (without_tokenizer, "lacks tokenizer.json"),
        (with_code, "remote code"),
        (with_gaps, "lacks weights, visual_projection.weight"),
        (with_infinity, "not finite"),
        (with_too_many_tokens, "cannot be loaded"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told(
    changeable: Path, tmp_path: Path, change: Any, told: str
) -> None:
    change(changeable)
    with pytest.raises(RecipeError, match=told):
        imported(changeable, tmp_path / "result")


def test_a_training_scores_its_samples_and_the_bases_and_learns_the_same(
    upload, configure, start, stored, tmp_path
) -> None:
    files = upload()
    plain, scored = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b", clip_files=stored)
    settings = configure(learning_rate=0.05, sample_steps=4)
    train(settings, plain)
    result = train(settings, scored)
    assert [step for step, _ in scored.series(METRIC)] == [0, 4, 8]
    scores = dict(scored.series(METRIC))
    assert result.metrics[METRIC] == scores[result.best_step] != scores[0]
    assert "The CLIP score of the samples is" in result.summary
    for name in ("train/loss", "eval/loss"):
        assert plain.series(name) == scored.series(name)
    assert not plain.series(METRIC)
    manifest = json.loads(scored.artifacts["manifest.json"].path.read_text())
    assert manifest["metrics"][METRIC] == result.metrics[METRIC]
    assert manifest["base_metrics"][METRIC] == scores[0]
    assert "| clip_score |" in scored.artifacts["README.md"].path.read_text()


def test_all_prompts_are_drawn_where_they_are_scored(
    upload, configure, start, stored, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("tuneyard.diffusion.sampling._SECONDS", -1.0)
    config, files = configure(max_steps=1, validation_prompts=PROMPTS), upload()
    last_rows = []
    for name, clip in (("a", None), ("b", stored)):
        run = start(files, root=tmp_path / name, clip_files=clip)
        train(config, run)
        (sample,) = run.all_of("sample")
        shown = Image.open(run.artifacts[sample["artifact"]].path)
        last_rows.append(shown.crop((0, 88, 64, 152)))
    grey, drawn = (len(row.getcolors(64 * 64)) for row in last_rows)
    assert grey == 1 < drawn


def test_no_room_for_the_clip_model_costs_the_score_alone(
    upload, configure, start, stored, monkeypatch
) -> None:
    def full(*_: Any) -> float:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Clip, "score", full)
    run = start(upload(), clip_files=stored)
    result = train(configure(max_steps=1), run)
    assert METRIC not in result.metrics
    assert "no_room_to_score" in {entry["code"] for entry in run.all_of("warning")}
