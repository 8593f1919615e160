import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.finished_diffusion import finished_training
from tuneyard.diffusion.export import export
from tuneyard.diffusion.export_config import ExportConfig, export_config
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.v1 import job_pb2, trainer_service_pb2


def test_diffusers_file_is_handed_out_as_it_was_stored(tmp_path: Path) -> None:
    job = finished_training(tmp_path)
    run = FakeRun(root=tmp_path / "run", source_files=job.artifacts)
    result = export(ExportConfig(source_job="jobs/1", format="diffusers"), run)
    assert set(run.artifacts) == {"pytorch_lora_weights.safetensors", "manifest.json"}
    assert "64 tensors" in result.summary
    told = json.loads((run.work_dir / "manifest.json").read_text())
    assert (told["format"], told["parts"]) == ("diffusers", ["unet"])


def test_kohya_s_file_is_written_anew_where_it_is_gone(tmp_path: Path) -> None:
    job = finished_training(tmp_path)
    kept = job.artifacts / "kohya" / "tiny.safetensors"
    before = load_file(kept)
    for attempt in (1, 2):
        run = FakeRun(root=tmp_path / f"run-{attempt}", source_files=job.artifacts)
        export(ExportConfig(source_job="jobs/1", format="kohya"), run)
        assert "kohya/tiny.safetensors" in run.artifacts
        if attempt == 1:
            kept.unlink()
    again = load_file(run.work_dir / "kohya.safetensors")
    assert again.keys() == before.keys()
    assert all(bool((again[name] == before[name]).all()) for name in before)


def test_a_job_without_weights_has_nothing_to_export(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path / "run", source_files=tmp_path)
    with pytest.raises(RecipeError, match="no LoRA weights"):
        export(ExportConfig(source_job="jobs/1", format="kohya"), run)


def test_other_formats_are_not_supported() -> None:
    spec = job_pb2.JobSpec(export=job_pb2.ExportSpec(source_job="jobs/1", format=job_pb2.EXPORT_FORMAT_ONNX))
    with pytest.raises(RecipeError, match="kohya"):
        export_config(trainer_service_pb2.StartRunRequest(spec=spec))
