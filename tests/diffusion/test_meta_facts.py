from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_diffusion import Family, tiny_pipeline
from tuneyard.diffusion.meta_facts import facts_of
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.pipeline_facts import PipelineFacts

CPU = torch.device("cpu")


def count(*modules: Any) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_facts_count_what_loading_would_give(tmp_path: Path, family: Family) -> None:
    folder = tiny_pipeline(tmp_path / "base", family)
    facts, pipeline = facts_of(folder), open_pipeline(folder)
    texts = pipeline.load_text_encoders(dtype=torch.float32, device=CPU)
    assert facts.kind == family
    assert facts.denoiser_parameters == count(pipeline.load_network(dtype=torch.float32, device=CPU))
    assert facts.vae_parameters == count(pipeline.load_vae(device=CPU))
    assert facts.text_parameters == count(*texts.values())
    assert (facts.resolution, facts.latent_scale, facts.dtype_bytes) == (64, 8, 4)


def test_facts_survive_json_and_anything_else_is_refused(tmp_path: Path) -> None:
    facts = facts_of(tiny_pipeline(tmp_path / "base", dtype=torch.float16))
    assert facts.dtype_bytes == 2
    assert PipelineFacts.from_json(facts.to_json()) == facts
    for text in ("[]", "{}", facts.to_json().replace('"sd"', '"x"')):
        with pytest.raises(ValueError, match=r"facts|kind"):
            PipelineFacts.from_json(text)


def test_what_autograd_keeps_is_what_was_counted(tmp_path: Path) -> None:
    folder = tiny_pipeline(tmp_path / "base")
    facts = facts_of(folder)
    network: Any = open_pipeline(folder).load_network(dtype=torch.float32, device=CPU)
    from peft import LoraConfig

    network.add_adapter(LoraConfig(r=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    network.train()
    own = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        if value.untyped_storage().data_ptr() not in own:
            seen[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        network(torch.randn(1, 4, 16, 16), torch.tensor([5]), torch.randn(1, 77, 32))
    kept = sum(value.untyped_storage().nbytes() for value in seen.values())
    assert kept == pytest.approx(facts.full.bytes(256, checkpointing=False), rel=0.1)
