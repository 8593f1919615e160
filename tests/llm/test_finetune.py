import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_llm import WITHOUT_FUSED_ATTENTION, tiny_model
from tuneyard.llm import finetune
from tuneyard.llm.config import Lora
from tuneyard.llm.finetune import train
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

METHODS = ["lora", "qlora", "full"]
STEPS_PER_EPOCH = 4


@pytest.fixture
def outcomes(monkeypatch):
    """What the recipe hands over to be stored."""
    kept = []
    store = finetune.save_artifacts

    def keep(run, outcome) -> None:
        kept.append(outcome)
        store(run, outcome)

    monkeypatch.setattr(finetune, "save_artifacts", keep)
    return kept


def logits_of(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(40, 60).unsqueeze(0)).logits.float()


def same_losses(one: FakeRun, other: FakeRun, *, rel: float) -> bool:
    return [loss for _, loss in one.series("train/loss")] == pytest.approx(
        [loss for _, loss in other.series("train/loss")], rel=rel
    )


def test_a_fine_tuning_ends_with_an_adapter_and_its_reports(upload, configure, start) -> None:
    run = start(upload())
    result = train(configure(), run)
    assert result.step == 2 * STEPS_PER_EPOCH
    adapter = {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"}
    assert {f"adapter/{name}" for name in adapter} <= run.artifacts.keys()
    assert {
        "metrics.json",
        "manifest.json",
        "token-report.json",
        "training-sample.html",
    } <= run.artifacts.keys()
    assert run.all_of("metrics")[1]["values"].keys() == {
        "train/loss",
        "train/learning_rate",
        "train/grad_norm",
    }
    progress = run.all_of("progress")
    assert {entry["unit"] for entry in progress} == {"tokens"} and all(entry["count"] for entry in progress)


@pytest.mark.parametrize(
    ("architecture", "method"), zip(WITHOUT_FUSED_ATTENTION, ("qlora", "lora", "full"), strict=True)
)
def test_a_base_without_fused_attention_is_trained(
    upload, configure, start, tmp_path, architecture, method
) -> None:
    base = tiny_model(tmp_path / "other", architecture, vocab=512, hidden=32)
    run = start(upload(), base_model_files=base)
    train(configure(method, epochs=4), run)
    losses = [loss for _, loss in run.series("eval/loss")]
    assert losses[-1] < losses[0]


def test_each_evaluation_measures_what_the_one_before_the_first_step_measured(
    upload, configure, start
) -> None:
    run = start(upload())
    result = train(configure(), run)
    for name in ("eval/loss", "eval/perplexity", "eval/token_accuracy"):
        assert [step for step, _ in run.series(name)] == [0, 4, 8]
    assert result.best_step in (4, 8)
    assert "the base's was" in result.summary


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_adapter_computes_the_same_in_plain_peft(
    upload, configure, start, outcomes, tiny_base, method
) -> None:
    run = start(upload())
    train(configure(method), run)
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    before = logits_of(base)
    plain = PeftModel.from_pretrained(base, run.artifacts["adapter/adapter_config.json"].path.parent)
    if method == "lora":
        assert torch.allclose(logits_of(plain), logits_of(outcomes[0].learner.model), atol=1e-5)
    assert not torch.allclose(logits_of(plain), before, atol=1e-5)


def test_a_whole_model_computes_the_same_in_plain_transformers(upload, configure, start, outcomes) -> None:
    run = start(upload())
    train(configure("full"), run)
    folder = run.artifacts["model/config.json"].path.parent
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(logits_of(plain), logits_of(outcomes[0].learner.model), atol=1e-6)
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_the_manifest_names_the_base_by_its_hash(upload, configure, start) -> None:
    run = start(upload())
    train(configure(), run)
    manifest = json.loads(run.artifacts["manifest.json"].path.read_text())
    assert manifest["base"]["id"] == "models/tiny" and len(manifest["base"]["sha256"]) == 64
    assert manifest["adapter_bytes"] == run.artifacts["adapter/adapter_model.safetensors"].path.stat().st_size
    assert manifest["held_out"] and manifest["template"] == "tokenizer"
    card = run.artifacts["adapter/README.md"].path.read_text()
    assert manifest["base"]["sha256"] in card and "PeftModel.from_pretrained" in card


def test_the_manifest_of_a_qlora_tells_the_arithmetic_that_was_chosen(upload, configure, start) -> None:
    run = start(upload())
    train(configure("qlora", max_steps=1), run)
    manifest = json.loads(run.artifacts["manifest.json"].path.read_text())
    assert manifest["config"]["quantization"]["compute_dtype"] == "auto"
    assert manifest["compute_dtype_of_4bit_weights"] == "bfloat16"


@pytest.fixture
def mixing_base(tmp_path, tiny_base):
    """A model in which samples that share a row would see each other."""
    folder = tmp_path / "falcon"
    shutil.copytree(tiny_base, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model("falcon", vocab_size=len(AutoTokenizer.from_pretrained(tiny_base)), **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_where_samples_would_see_each_other_packing_is_off_and_that_is_told(
    upload, configure, start, tmp_path, mixing_base
) -> None:
    files, config = upload(), configure("full", max_steps=2)
    packed, plain = (start(files, root=tmp_path / name, base_model_files=mixing_base) for name in "ab")
    train(config, packed)
    train(replace(config, packing=False), plain)
    [told] = [each for each in packed.all_of("warning") if each["code"] == "packing_off"]
    assert "type falcon" in told["message"] and "language_model.packing" in told["message"]
    assert packed.series("train/loss") == plain.series("train/loss")
    manifest = json.loads(packed.artifacts["manifest.json"].path.read_text())
    assert manifest["config"]["packing"] is False
    assert "packing_off" not in {each["code"] for each in plain.all_of("warning")}


@pytest.mark.parametrize("method", METHODS)
def test_packing_changes_no_loss(upload, configure, start, tmp_path, method) -> None:
    files, lora = upload(), None if method == "full" else Lora(dropout=0.0)
    packed, plain = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(method, lora=lora), packed)
    train(configure(method, lora=lora, packing=False), plain)
    assert same_losses(packed, plain, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_out_of_memory_halves_the_micro_batch_and_changes_no_loss(
    upload, configure, start, tmp_path, method
) -> None:
    files, lora = upload(), None if method == "full" else Lora(dropout=0.0)
    config = configure(method, lora=lora, packing=False)
    whole, short = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b", faults="oom@step=3")
    train(config, whole)
    train(config, short)
    recovered = short.all_of("out_of_memory_recovered")
    assert [(r["step"], r["old_batch_size"], r["new_batch_size"]) for r in recovered] == [(3, 2, 1)]
    assert same_losses(whole, short, rel=1e-4)


def test_what_does_not_fit_even_alone_is_told_with_the_guides_remedies(upload, configure, start) -> None:
    with pytest.raises(RecipeError) as failed:
        train(configure(batch_size=1), start(upload(), faults="oom@step=2"))
    assert failed.value.reason == "OUT_OF_MEMORY"
    words = ["gradient_checkpointing", "QLoRA", "max_length", "smaller base model"]
    assert [word in told for word, told in zip(words, failed.value.remedies, strict=True)] == [True] * 4


def test_a_base_that_does_not_fit_is_told_with_smaller_methods(upload, configure, start, monkeypatch) -> None:
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(finetune, "make_optimizer", none)
    with pytest.raises(RecipeError) as failed:
        train(configure("full"), start(upload()))
    assert failed.value.reason == "OUT_OF_MEMORY"
    assert ["LoRA or QLoRA" in failed.value.remedies[0], len(failed.value.remedies)] == [True, 2]


def test_gradient_checkpointing_changes_no_number(upload, configure, start, tmp_path) -> None:
    files = upload()
    plain, frugal = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(max_steps=3), plain)
    train(configure(max_steps=3, gradient_checkpointing=True), frugal)
    assert same_losses(plain, frugal, rel=1e-6)


def test_each_evaluation_answers_held_out_prompts_with_the_base_beside(upload, configure, start) -> None:
    run = start(upload())
    train(configure(validation_prompts=("Name a kind.",), learning_rate=0.05), run)
    answers = [answer for answer in run.all_of("sample") if answer["step"] > 0]
    assert [(answer["step"], answer["prompt"]) for answer in answers] == [
        (4, "Name a kind."),
        (8, "Name a kind."),
    ]
    assert answers[0]["base"] == answers[1]["base"] != answers[1]["tuned"]


def test_early_stopping_ends_after_evaluations_without_improvement(upload, configure, start) -> None:
    run = start(upload())
    result = train(configure(epochs=20, learning_rate=1e-12, patience=2, min_delta=0.2), run)
    assert result.early_stopped
    assert [step for step, _ in run.series("eval/loss")] == [0, 4, 8, 12]


def test_the_best_weights_are_stored_and_not_the_last(upload, configure, start, monkeypatch) -> None:
    losses = iter([5.0, 1.0, 2.0, 3.0])
    measure = finetune.Training._evaluated

    def scripted(self):
        found = measure(self)
        return type(found)(next(losses), found.token_accuracy, found.tokens)

    monkeypatch.setattr(finetune.Training, "_evaluated", scripted)
    run = start(upload())
    result = train(configure(epochs=3), run)
    assert result.best_step == 4
    best = next(saved for saved in run.checkpoints if saved.step == 4)
    kept = load_file(best.dir / "weights.safetensors")
    stored = load_file(run.artifacts["adapter/adapter_model.safetensors"].path)
    assert all(torch.equal(stored[name.replace(".default.", ".")], value) for name, value in kept.items())


def test_a_checkpoint_of_an_adapter_holds_no_base(upload, configure, start, tiny_base) -> None:
    run = start(upload())
    train(configure(optimizer="sgd"), run)
    saved = run.checkpoints[-1].dir
    assert all("lora_" in name for name in load_file(saved / "weights.safetensors"))
    base = (tiny_base / "model.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in saved.iterdir()) < base


def test_a_cancelled_fine_tuning_saves_nothing(upload, configure, start) -> None:
    run = start(upload(), stop=Stop.CANCEL, stop_after=2)
    with pytest.raises(Stopped) as stopped:
        train(configure(), run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.CANCEL, 2)
    assert not run.checkpoints and "manifest.json" not in run.artifacts


def test_a_checkpoint_of_another_dataset_is_refused(upload, configure, start) -> None:
    run, config = start(upload(), stop=Stop.PAUSE, stop_after=2), configure()
    with pytest.raises(Stopped):
        train(config, run)
    rows = [{"instruction": f"Count to {n}.", "response": f"{n} is reached."} for n in range(30)]
    with pytest.raises(RecipeError) as failed:
        train(config, run.resumed(training_files=upload(rows, name="other")))
    assert failed.value.reason == "CHECKPOINT_CORRUPT"


def test_a_run_reads_its_dataset_and_base_only(upload, configure, start, tiny_base) -> None:
    files = upload()
    before = [sorted(folder.rglob("*")) for folder in (files.dir, tiny_base)]
    train(configure(max_steps=1), start(files))
    assert [sorted(folder.rglob("*")) for folder in (files.dir, tiny_base)] == before
