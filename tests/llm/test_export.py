"""Exports of language models: the files that are there, of the kind that was asked for."""

import json
from pathlib import Path

import pytest
import torch

from tests.support.tiny_llm import tiny_llama
from tuneyard.llm.adapters import add_adapter, save_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.config import LanguageModelConfig, Lora
from tuneyard.llm.export import export
from tuneyard.llm.export_config import ExportConfig, FormatName, export_config
from tuneyard.trainer.base_identity import BaseIdentity
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.v1 import job_pb2, trainer_service_pb2


def asked(format: FormatName) -> ExportConfig:
    return ExportConfig(source_job="jobs/1", format=format)


@pytest.fixture
def adapter_job(tmp_path: Path) -> FakeRun:
    config = LanguageModelConfig(base_model="models/base", lora=Lora(r=2))
    base = load_base(tiny_llama(tmp_path / "base"), config, device=torch.device("cpu"), precision="fp32")
    folder = tmp_path / "source" / "adapter"
    folder.mkdir(parents=True)
    save_adapter(add_adapter(base, config), folder, base=BaseIdentity(id="models/base", sha256="ab"))
    facts = {"base": {"id": "models/base", "revision": "", "sha256": "ab"}, "template": "chatml"}
    (tmp_path / "source" / "manifest.json").write_text(json.dumps(facts))
    return FakeRun(root=tmp_path, source_files=tmp_path / "source")


@pytest.fixture
def whole_job(tmp_path: Path) -> FakeRun:
    tiny_llama(tmp_path / "source" / "model")
    return FakeRun(root=tmp_path, source_files=tmp_path / "source")


def test_an_adapter_is_handed_out_with_its_base_in_the_manifest(adapter_job: FakeRun) -> None:
    export(asked("adapter"), adapter_job)
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} < set(adapter_job.artifacts)
    manifest = json.loads(adapter_job.artifacts["manifest.json"].path.read_text())
    assert (manifest["base"]["id"], manifest["template"], manifest["tensors"]) == ("models/base", "chatml", 8)


def test_a_whole_model_is_handed_out_as_it_is(whole_job: FakeRun) -> None:
    export(asked("safetensors"), whole_job)
    assert {"model/model.safetensors", "model/config.json", "model/tokenizer.json"} < set(whole_job.artifacts)


def test_what_a_job_does_not_have_is_told_with_what_to_do(adapter_job: FakeRun, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as failed:
        export(asked("safetensors"), adapter_job)
    assert "tuneyard merge" in failed.value.remedies[0]
    tiny_llama(tmp_path / "whole" / "model")
    with pytest.raises(RecipeError, match="there is no adapter"):
        export(asked("adapter"), FakeRun(root=tmp_path / "whole", source_files=tmp_path / "whole"))


def test_a_damaged_file_is_not_handed_out(whole_job: FakeRun, tmp_path: Path) -> None:
    (tmp_path / "source" / "model" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(RecipeError, match="cannot be read"):
        export(asked("safetensors"), whole_job)
    assert not whole_job.artifacts


def test_other_formats_are_refused() -> None:
    spec = job_pb2.JobSpec(export=job_pb2.ExportSpec(format=job_pb2.EXPORT_FORMAT_ONNX))
    with pytest.raises(RecipeError, match="as an adapter or as safetensors"):
        export_config(trainer_service_pb2.StartRunRequest(spec=spec))
