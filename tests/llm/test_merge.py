"""Merging adapters into bases: what is written computes what both compute, and the rest is refused."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from tests.support.tiny_llm import ARCHITECTURES, Architecture, tiny_llama, tiny_model
from tuneyard.llm import merge_rows, shards
from tuneyard.llm.adapters import add_adapter, save_adapter
from tuneyard.llm.base_model import load_base, load_tokenizer
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.llm.merge import merge
from tuneyard.llm.merge_config import MergeConfig
from tuneyard.llm.tokenizer_files import save_tokenizer
from tuneyard.trainer.base_identity import BaseIdentity, files_sha256
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

Finished = Callable[..., tuple[MergeConfig, FakeRun]]
Differences = Callable[[FakeRun], tuple[float, float]]
PLAIN = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
told, sys.stdout = sys.stdout, sys.stderr
load = AutoModelForCausalLM.from_pretrained
for line in sys.stdin:
    base, adapter, merged = json.loads(line)
    tuned = PeftModel.from_pretrained(load(base, dtype=torch.float32), adapter).eval()
    alone = load(merged, dtype=torch.float32).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(merged)("Return the sum of both values.")["input_ids"]])
    with torch.no_grad():
        expected, found = tuned(ids).logits, alone(ids).logits
        with tuned.disable_adapter():
            base = tuned(ids).logits
    off = [(other - expected).abs().max().item() for other in (found, base)]
    print(json.dumps(off), file=told, flush=True)
"""


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A finished job as a merge finds it, whose adapter does something."""

    def make(
        architecture: Architecture = "llama",
        *,
        dtype: torch.dtype = torch.float32,
        method: str = "lora",
        size: float = 0.3,
        **lora: Any,
    ) -> tuple[MergeConfig, FakeRun]:
        base = tiny_model(tmp_path / "base", architecture, dtype=dtype)
        config = LanguageModelConfig(
            base_model="models/base",
            method=method,  # type: ignore[arg-type]
            lora=Lora(r=4, alpha=8, **lora),
            quantization=Quantization() if method == "qlora" else None,
        )
        torch.manual_seed(0)
        model = add_adapter(load_base(base, config, device=torch.device("cpu"), precision="fp32"), config)
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=size)
        identity = BaseIdentity(id="models/base", sha256=files_sha256(base))
        adapter = tmp_path / "artifacts" / "adapter"
        adapter.mkdir(parents=True)
        save_adapter(model, adapter, base=identity, dtype=dtype)
        save_tokenizer(load_tokenizer(base), adapter)
        facts = {"base": asdict(identity), "template": "tokenizer", "precision": "fp32", "held_out": "h"}
        (tmp_path / "artifacts" / "manifest.json").write_text(json.dumps(facts))
        run = FakeRun(root=tmp_path, base_model_files=base, source_files=tmp_path / "artifacts")
        return MergeConfig(source_job="jobs/1", source=config), run

    return make


def model_folder(run: FakeRun) -> Path:
    return run.root / "artifacts" / "model"


def manifest(run: FakeRun) -> dict[str, Any]:
    return json.loads(run.artifacts["manifest.json"].path.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def plain_difference() -> Iterator[Differences]:
    """Of the merged model, and of the base, from base and adapter: as programs without Tuneyard find it.

    One process for all: it takes seconds to start.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PLAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin and process.stdout

        def difference(run: FakeRun) -> tuple[float, float]:
            folders = (run.base_model_files, run.root / "artifacts" / "adapter", model_folder(run))
            print(json.dumps([str(folder) for folder in folders]), file=process.stdin)
            merged, base = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return merged, base

        yield difference
        process.stdin.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_merged_model_computes_what_base_and_adapter_compute(
    finished: Finished, architecture: Architecture
) -> None:
    config, run = finished(architecture)
    result = merge(config, run)
    assert result.metrics["merge/max_logit_difference"] < 1e-5
    assert result.metrics["merge/top1_agreement"] == 1
    assert manifest(run)["proof"]["adapter_effect"]["mean_logit_difference"] > 0.01


@pytest.mark.parametrize("variant", ["use_dora", "use_rslora"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_variants_of_lora_are_merged(finished: Finished, architecture: Architecture, variant: str) -> None:
    config, run = finished(architecture, target_modules=("all-linear",), **{variant: True})
    assert merge(config, run).metrics["merge/max_logit_difference"] < 1e-4


def test_plain_transformers_and_peft_find_the_same(finished: Finished, plain_difference: Differences) -> None:
    config, run = finished(dtype=torch.bfloat16)
    proof = merge(config, run).metrics
    off, effect = plain_difference(run)
    assert off <= 2 * proof["merge/max_logit_difference"] < effect / 2


def test_weights_keep_their_format_and_all_others_their_bytes(finished: Finished) -> None:
    config, run = finished(dtype=torch.bfloat16)
    merge(config, run)
    before = load_file(run.base_model_files / "model.safetensors")  # type: ignore[operator]
    after = load_file(model_folder(run) / "model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert before.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} == {"q_proj", "v_proj"}


def test_everything_that_a_model_needs_is_beside_the_weights(finished: Finished) -> None:
    config, run = finished()
    merge(config, run)
    names = {path.name for path in model_folder(run).iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "README.md",
    } <= names
    facts = manifest(run)
    assert facts["base"]["id"] == "models/base"
    assert (facts["method"], facts["trained_method"], facts["template"]) == ("merged", "lora", "tokenizer")


@pytest.mark.parametrize("has_generation_config", [True, False])
def test_a_merged_model_ends_its_answers_as_the_training_taught(
    finished: Finished, has_generation_config: bool
) -> None:
    config, run = finished()
    base, origin = Path(str(run.base_model_files)), run.root / "artifacts" / "manifest.json"
    for name in ("config.json", "generation_config.json"):
        values = json.loads((base / name).read_text()) | {"eos_token_id": 0}
        (base / name).write_text(json.dumps(values))
    if not has_generation_config:
        (base / "generation_config.json").unlink()
    facts = json.loads(origin.read_text())
    facts["base"]["sha256"] = files_sha256(base)
    origin.write_text(json.dumps(facts))
    merge(config, run)
    end = load_tokenizer(base).convert_tokens_to_ids("<|im_end|>")
    found = GenerationConfig.from_pretrained(model_folder(run))
    assert (found.eos_token_id, end) == ([0, end], 2)
    settings = (base / "generation_config.json").read_text() if has_generation_config else ""
    assert "[" not in settings


def test_large_models_are_written_in_shards(
    finished: Finished, plain_difference: Differences, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = finished()
    monkeypatch.setattr(shards.write_shards, "__kwdefaults__", {"shard_bytes": 100_000})
    assert merge(config, run).metrics["merge/top1_agreement"] == 1
    assert len(list(model_folder(run).glob("model-*-of-*.safetensors"))) > 2
    assert (model_folder(run) / "model.safetensors.index.json").is_file()
    off, _ = plain_difference(run)
    assert off < 1e-5


def test_an_adapter_on_a_quantized_base_goes_into_the_original_one(finished: Finished) -> None:
    config, run = finished(method="qlora", dtype=torch.bfloat16)
    merge(config, run)
    proof = manifest(run)["proof"]
    assert proof["mean_logit_difference"] < proof["against_quantized_base"]["mean_logit_difference"]
    assert "not into the quantised ones" in (model_folder(run) / "README.md").read_text()


def refused(config: MergeConfig, run: FakeRun) -> RecipeError:
    with pytest.raises(RecipeError) as failed:
        merge(config, run)
    assert not any(name.startswith("model/") for name in run.artifacts)
    return failed.value


def test_another_base_is_refused_with_both_named(finished: Finished, tmp_path: Path) -> None:
    config, run = finished()
    run.base_model_files = tiny_llama(tmp_path / "other", seed=1)
    error = refused(config, run)
    assert error.reason == "BASE_MODEL_UNAVAILABLE"
    hashes = (files_sha256(tmp_path / "base")[:16], files_sha256(tmp_path / "other")[:16])
    assert all(digest in error.message for digest in hashes)


def test_a_base_that_is_gone_is_told(finished: Finished) -> None:
    config, run = finished()
    assert "no longer in the store" in refused(replace(config, base_is_there=False), run).message


def test_a_broken_merge_fails_its_proof(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = finished(size=2)
    monkeypatch.setattr(
        "tuneyard.llm.stored_adapter.StoredAdapter.merged", lambda self, module, weight: weight
    )
    error = refused(config, run)
    assert error.reason == "RECIPE_FAILED"
    assert "of the most likely tokens are the same" in error.message


def test_an_adapter_whose_effect_is_rounded_away_is_told(finished: Finished) -> None:
    config, run = finished(dtype=torch.bfloat16, size=0.00005)
    merge(config, run)
    assert [each["code"] for each in run.all_of("warning")] == ["adapter_mostly_lost"]


def test_an_adapter_of_an_unknown_kind_is_refused(finished: Finished) -> None:
    config, run = finished()
    path = run.root / "artifacts" / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modules_to_save": ["lm_head"]}))
    assert refused(config, run).reason == "NOT_SUPPORTED"


def test_a_damaged_adapter_is_refused(finished: Finished) -> None:
    config, run = finished()
    path = run.root / "artifacts" / "adapter" / "adapter_model.safetensors"
    state = load_file(path)
    next(iter(state.values())).fill_(float("nan"))
    save_file(state, path)
    assert "not finite" in refused(config, run).message


def test_a_merge_is_cancelled_between_two_tensors(finished: Finished) -> None:
    config, run = finished()
    run.stop, run.stop_after = Stop.CANCEL, 3
    with pytest.raises(Stopped):
        merge(config, run)
    assert max(each["step"] for each in run.all_of("progress")) == 3
    assert not run.artifacts


def test_generated_rows_are_as_few_as_a_large_vocabulary_allows(finished: Finished) -> None:
    config, run = finished()
    tokenizer = load_tokenizer(run.root / "base")
    small = merge_rows.proof_rows(config, run, tokenizer, vocabulary=1024, template="")
    large = merge_rows.proof_rows(config, run, tokenizer, vocabulary=256_000, template="")
    assert (small.tokens, large.tokens) == (1024, 128)
