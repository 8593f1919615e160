"""The recipe: what a training reports and leaves behind, and what changes none of its numbers."""

import json

import diffusers
import pytest
import torch
from peft import get_peft_model_state_dict
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.support.tiny_diffusion import FAMILIES
from tuneyard.diffusion import text_to_image_lora
from tuneyard.diffusion.config import Lora
from tuneyard.diffusion.evaluation import Evaluator
from tuneyard.diffusion.kohya_names import KohyaNames
from tuneyard.diffusion.lora_files import from_kohya, read_diffusers
from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind

WEIGHTS = "pytorch_lora_weights.safetensors"
whole_training = pytest.mark.integration
"""Of trainings that are built to show one thing, and variants."""


@pytest.fixture
def outcomes(monkeypatch):
    """What the recipe hands over to be stored."""
    kept = []
    store = text_to_image_lora.save_artifacts

    def keep(run, outcome) -> None:
        kept.append(outcome)
        store(run, outcome)

    monkeypatch.setattr(text_to_image_lora, "save_artifacts", keep)
    return kept


def losses(run: FakeRun, name: str = "train/loss") -> list[float]:
    return [loss for _, loss in run.series(name)]


def same_losses(one: FakeRun, other: FakeRun, *, rel: float) -> bool:
    return all(
        losses(one, name) and losses(one, name) == pytest.approx(losses(other, name), rel=rel)
        for name in ("train/loss", "eval/loss")
    )


@pytest.mark.usefixtures("charts")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_ends_with_its_adapters_and_reports(upload, configure, start, family) -> None:
    run = start(upload(), family=family)
    result = train(configure(), run)
    assert result.step == 8 and result.best_step in (4, 8)
    assert {
        WEIGHTS,
        "kohya/tiny.safetensors",
        "README.md",
        "metrics.json",
        "manifest.json",
        "loss_curve.png",
        "caption-report.json",
        f"samples/step-{result.best_step:06d}.png",
    } <= run.artifacts.keys()
    assert [step for step, _ in run.series("eval/loss")] == [0, 4, 8]
    assert "the base's was" in result.summary
    assert {(entry["unit"], entry["count"]) for entry in run.all_of("progress")} == {("images", 2)}


@pytest.mark.parametrize(
    "family", ["sd", *(pytest.param(name, marks=whole_training) for name in ("sdxl", "sd3"))]
)
def test_plain_diffusers_loads_what_was_trained(
    upload, configure, start, outcomes, tiny_pipelines, family
) -> None:
    run = start(upload(), family=family)
    train(configure(learning_rate=0.05), run)
    plain = diffusers.DiffusionPipeline.from_pretrained(tiny_pipelines(family))
    plain.load_lora_weights(run.artifacts[WEIGHTS].path.parent, weight_name=WEIGHTS)
    (name,) = outcomes[0].learner.adapted
    found = get_peft_model_state_dict(getattr(plain, name), adapter_name="default_0")
    expected = get_peft_model_state_dict(outcomes[0].learner.adapted[name])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_adamw_of_8_bits_learns_what_adamw_learns(upload, configure, start, outcomes, tmp_path) -> None:
    files = upload()
    runs = [start(files, root=tmp_path / name) for name in ("adamw", "adamw_8bit")]
    for run, name in zip(runs, ("adamw", "adamw_8bit"), strict=True):
        # Of smaller adapters all state is in fp32.
        train(configure(optimizer=name, lora=Lora(r=128, alpha=128.0)), run)
    (before, *_, plain), (_, *_, small) = (losses(each, "eval/loss") for each in runs)
    state = outcomes[1].learner.optimizer.state.values()
    assert {each["state1"].dtype for each in state} == {torch.uint8}
    assert small < before and small == pytest.approx(plain, rel=1e-4)


def test_both_formats_hold_the_same_numbers(upload, configure, start, outcomes) -> None:
    run = start(upload())
    train(configure(trigger_words=("zwx style",)), run)
    plain = read_diffusers(run.artifacts[WEIGHTS].path)["unet"]
    kohya = run.artifacts["kohya/zwx-style.safetensors"].path
    layers = {"unet": [name for name, _ in outcomes[0].learner.adapted["unet"].named_modules()]}
    back = from_kohya(load_file(kohya), KohyaNames(kind="sd"), layers)["unet"]
    assert all(torch.equal(back.weights[name], value) for name, value in plain.weights.items())
    with safe_open(kohya, framework="pt") as file:
        header = file.metadata()
    assert header["modelspec.trigger_phrase"] == "zwx style"
    assert (header["ss_network_dim"], header["ss_network_alpha"]) == ("4", "4")
    assert len(header["ss_new_sd_model_hash"]) == 64 and header["tuneyard_dataset_sha256"] == "a" * 64


def test_the_manifest_and_the_card_name_the_base_by_its_hash(upload, configure, start) -> None:
    run = start(upload())
    train(configure(), run)
    manifest = json.loads(run.artifacts["manifest.json"].path.read_text())
    card = run.artifacts["README.md"].path.read_text()
    assert manifest["base"]["id"] == "models/tiny" and manifest["base"]["sha256"] in card
    assert manifest["adapter_bytes"] == run.artifacts[WEIGHTS].path.stat().st_size
    assert (manifest["train_images"], manifest["validation_images"]) == (8, 2)
    assert manifest["samples"] in run.artifacts and f"({manifest['samples']})" in card


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=whole_training),
        {"horizontal_flip": 0.5, "caption_dropout": 0.5, "noise_offset": 0.1, "min_snr_gamma": 5.0},
    ],
    ids=["plain", "random"],
)
@pytest.mark.parametrize("family", ["sd", pytest.param("sdxl", marks=whole_training)])
def test_kept_latents_and_texts_change_no_loss(upload, configure, start, tmp_path, family, changes) -> None:
    files = upload()
    kept, fresh = (start(files, root=tmp_path / name, family=family) for name in ("a", "b"))
    train(configure(resolution=128, **changes), kept)
    train(configure(resolution=128, cache_latents=False, **changes), fresh)
    assert same_losses(kept, fresh, rel=1e-5)


def test_a_second_job_computes_no_latents_again(upload, configure, start, tmp_path, monkeypatch) -> None:
    files, root = upload(), tmp_path / "run"
    train(configure(max_steps=1), start(files, root=root))

    def computed(*_, **__):
        raise AssertionError("encoded again")

    monkeypatch.setattr("tuneyard.diffusion.latents.FreshLatents.encode", computed)
    monkeypatch.setattr("tuneyard.diffusion.latents.load_text", computed)
    again = start(files, root=root, attempt=2)
    train(configure(max_steps=2, seed=0), again)
    assert len(losses(again)) == 2


def test_a_second_job_with_the_same_base_measures_it_no_more(
    upload, configure, start, tmp_path, monkeypatch
) -> None:
    files, root = upload(), tmp_path / "run"
    first = start(files, root=root)
    train(configure(max_steps=1), first)
    measured, measure = [], Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda *given, **named: measured.append(1) or measure(*given, **named)
    )
    again = start(files, root=root, attempt=2)
    train(configure(max_steps=1, seed=5), again)
    assert first.series("eval/loss")[0] == again.series("eval/loss")[0]
    assert len(measured) == 1
    other = start(
        upload({"train/0.png": "a", "val/0.png": "another caption"}, name="b"), root=root, attempt=3
    )
    train(configure(max_steps=1), other)
    assert other.series("eval/loss")[0] != first.series("eval/loss")[0]


@whole_training
def test_the_micro_batch_changes_no_loss(upload, configure, start, tmp_path) -> None:
    files = upload()
    whole, cut = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(batch_size=4, resolution=128), whole)
    train(configure(batch_size=1, gradient_accumulation_steps=4, resolution=128), cut)
    assert same_losses(whole, cut, rel=1e-4)


@pytest.mark.parametrize("cached", [True, pytest.param(False, marks=whole_training)], ids=["kept", "fresh"])
def test_out_of_memory_halves_the_micro_batch_and_changes_no_loss(
    upload, configure, start, tmp_path, cached
) -> None:
    files, config = upload(), configure(cache_latents=cached)
    whole, short = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b", faults="oom@step=3")
    train(config, whole)
    train(config, short)
    recovered = short.all_of("out_of_memory_recovered")
    assert [(r["step"], r["old_batch_size"], r["new_batch_size"]) for r in recovered] == [(3, 2, 1)]
    assert same_losses(whole, short, rel=1e-4)
    advice = [each for each in short.all_of("advice") if each["kind"] is AdviceKind.MEMORY]
    assert "resolution" not in advice[0]["remedies"][0] and "max_length" not in str(advice)


def test_what_does_not_fit_even_alone_is_told_with_the_guides_remedies(upload, configure, start) -> None:
    with pytest.raises(RecipeError) as failed:
        train(configure(batch_size=1, resolution=512, max_steps=2), start(upload(), faults="oom@step=1"))
    assert failed.value.reason == "OUT_OF_MEMORY"
    words = ["mixed precision", "resolution", "gradient_checkpointing", "adamw_8bit", "smaller base model"]
    assert [word in told for word, told in zip(words, failed.value.remedies, strict=True)] == [True] * 5


def test_a_base_that_does_not_fit_is_told(upload, configure, start, monkeypatch) -> None:
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(text_to_image_lora, "make_optimizer", none)
    with pytest.raises(RecipeError) as failed:
        train(configure(), start(upload()))
    assert failed.value.reason == "OUT_OF_MEMORY" and "adamw_8bit" in failed.value.remedies[0]


@whole_training
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_changes_no_number(upload, configure, start, tmp_path, family) -> None:
    files, text = upload(), family != "sd3"
    plain, frugal = (start(files, root=tmp_path / name, family=family) for name in ("a", "b"))
    train(configure(max_steps=3, train_text_encoder=text), plain)
    train(configure(max_steps=3, train_text_encoder=text, gradient_checkpointing=True), frugal)
    assert same_losses(plain, frugal, rel=1e-6)


@whole_training
def test_drawing_samples_changes_no_number(upload, configure, start, tmp_path) -> None:
    files, lora = upload(), Lora(r=4, dropout=0.3)
    quiet, drawing = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(lora=lora), quiet)
    train(configure(lora=lora, sample_steps=1), drawing)
    assert quiet.series("train/loss") == drawing.series("train/loss")
    assert len(drawing.all_of("sample")) == 8 and len(quiet.all_of("sample")) == 1


def test_each_evaluation_draws_the_prompts_with_the_base_beside(upload, configure, start) -> None:
    run = start(upload())
    train(configure(sample_steps=None, learning_rate=0.05), run)
    shown = run.all_of("sample")
    assert [sample["step"] for sample in shown] == [4, 8]
    pictures = [Image.open(run.artifacts[sample["artifact"]].path) for sample in shown]
    base, tuned = [[p.crop((left, 20, left + 64, 84)).tobytes() for p in pictures] for left in (0, 68)]
    assert base[0] == base[1] and len({base[0], *tuned}) == 3


@whole_training
def test_text_encoders_are_adapted_where_that_is_asked_for(upload, configure, start) -> None:
    run = start(upload(), family="sdxl")
    train(configure(train_text_encoder=True, text_encoder_learning_rate=1e-2), run)
    stored = load_file(run.artifacts[WEIGHTS].path)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        raised = [value for name, value in stored.items() if f"{part}." in name and "lora_B" in name]
        assert raised and any(value.abs().max() > 0 for value in raised)
    kohya = load_file(run.artifacts["kohya/tiny.safetensors"].path)
    assert any(name.startswith("lora_te2_text_model") for name in kohya)


@whole_training
def test_a_prior_of_weight_counts_class_images(upload, configure, start, tmp_path) -> None:
    captions = {f"train/{n}.png": "a sks circle" for n in range(4)} | {"val/0.png": "a sks circle"}
    files = upload(captions | {f"train/class/{n}.png": "" for n in range(2)})
    runs = []
    for weight in (0.0, 1.0):
        runs.append(start(files, root=tmp_path / str(weight)))
        train(configure(prior_loss_weight=weight, class_prompt="a circle", epochs=1), runs[-1])
    manifests = [json.loads(run.artifacts["manifest.json"].path.read_text()) for run in runs]
    assert [manifest["class_images"] for manifest in manifests] == [0, 2]
    assert [manifest["steps"] for manifest in manifests] == [2, 4]


def test_a_moving_average_is_what_is_judged_and_stored(upload, configure, start) -> None:
    run = start(upload())
    train(configure(ema_decay=0.9, save_steps=4), run)
    stored = read_diffusers(run.artifacts[WEIGHTS].path)["unet"].weights
    last = run.checkpoints[-1].dir
    average, trained = load_file(last / "average.safetensors"), load_file(last / "weights.safetensors")
    assert run.checkpoints[-1].step == 4 and average.keys() == trained.keys()
    assert any(not torch.equal(average[name], value) for name, value in trained.items())
    assert len(stored) == len(average)


@whole_training
def test_early_stopping_ends_after_evaluations_without_improvement(upload, configure, start) -> None:
    result = train(configure(epochs=20, learning_rate=1e-12, patience=2, min_delta=0.2), start(upload()))
    assert result.early_stopped and result.step == 12


def test_a_crop_at_random_encodes_images_anew_and_says_so(upload, configure, start) -> None:
    run = start(upload())
    train(configure(max_steps=1, random_crop=True), run)
    assert "latents_not_kept" in [warning["code"] for warning in run.all_of("warning")]
    assert not any(stage["name"] == "encode_images" for stage in run.all_of("stage"))


def test_a_checkpoint_holds_adapters_only(upload, configure, start) -> None:
    run = start(upload())
    train(configure(save_steps=3), run)
    assert all("lora_" in name for name in load_file(run.checkpoints[-1].dir / "weights.safetensors"))


def test_a_cancelled_training_saves_nothing(upload, configure, start) -> None:
    run = start(upload(), stop=Stop.CANCEL, stop_after=2)
    with pytest.raises(Stopped) as stopped:
        train(configure(), run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.CANCEL, 2)
    assert not run.checkpoints and "manifest.json" not in run.artifacts


def test_a_run_changes_neither_its_dataset_nor_its_base(upload, configure, start, tiny_pipelines) -> None:
    files = upload()
    before = [sorted(folder.rglob("*")) for folder in (files.dir, tiny_pipelines("sd"))]
    train(configure(max_steps=1), start(files))
    assert [sorted(folder.rglob("*")) for folder in (files.dir, tiny_pipelines("sd"))] == before
