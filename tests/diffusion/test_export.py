import json
from pathlib import Path

import pytest

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


def test_kohya_s_file_is_handed_out_under_its_name(tmp_path: Path) -> None:
    job = finished_training(tmp_path)
    run = FakeRun(root=tmp_path / "run", source_files=job.artifacts)
    export(ExportConfig(source_job="jobs/1", format="kohya"), run)
    kept = job.artifacts / "kohya" / "tiny.safetensors"
    assert run.artifacts["kohya/tiny.safetensors"].path.read_bytes() == kept.read_bytes()


def test_a_file_that_was_not_stored_cannot_be_exported(tmp_path: Path) -> None:
    job = finished_training(tmp_path, kohya="kohya/gone.safetensors")
    run = FakeRun(root=tmp_path / "run", source_files=job.artifacts)
    with pytest.raises(RecipeError, match="A1111"):
        export(ExportConfig(source_job="jobs/1", format="kohya"), run)


def test_a_job_without_weights_has_nothing_to_export(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path / "run", source_files=tmp_path)
    with pytest.raises(RecipeError, match="no LoRA weights"):
        export(ExportConfig(source_job="jobs/1", format="kohya"), run)


def test_other_formats_are_not_supported() -> None:
    spec = job_pb2.JobSpec(export=job_pb2.ExportSpec(source_job="jobs/1", format=job_pb2.EXPORT_FORMAT_ONNX))
    with pytest.raises(RecipeError, match="kohya"):
        export_config(trainer_service_pb2.StartRunRequest(spec=spec))
