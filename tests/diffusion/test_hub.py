"""Fetching text-to-image models: which files are asked for, in which order, and a run's copy of them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.single_checkpoint import write_checkpoint
from tests.support.tiny_diffusion import Family
from tuneyard.diffusion import meta_facts
from tuneyard.diffusion.base_source import find_base
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.convert import convert
from tuneyard.diffusion.hub import cached_base, fetch, fetch_configs
from tuneyard.diffusion.known_facts import SD_1_5
from tuneyard.trainer import hub_files, offline
from tuneyard.trainer.base_identity import files_sha256
from tuneyard.trainer.convert_child import ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun

TinyPipelines = Callable[[Family], Path]
Choose = Callable[[set[str]], Sequence[str]]
COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """Stands in for `hub_files.fetch`: one repository, which is a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []

    def fetch(
        self, hub_id: str, folder: Path, *, choose: Callable[[set[str]], Sequence[str]], **_: Any
    ) -> str:
        there = {
            path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()
        }
        for name in choose(there):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / name, target)
            self.fetched.append(name)
        return COMMIT


@pytest.fixture
def published(tiny_pipelines: TinyPipelines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    folder = Path(shutil.copytree(tiny_pipelines("sd"), tmp_path / "published"))
    for name in ("README.md", "v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.bin", "unet/x.py"):
        (folder / name).write_text("not wanted")
    served = Hub(folder)
    monkeypatch.setattr(hub_files, "fetch", served.fetch)
    monkeypatch.setattr(meta_facts, "facts_of", lambda folder: SD_1_5)
    return served


def test_the_index_comes_first_and_nothing_unwanted_at_all(published: Hub, tmp_path: Path) -> None:
    assert fetch("org/there", tmp_path / "fetched") == COMMIT
    assert published.fetched[0] == "model_index.json"
    assert "unet/diffusion_pytorch_model.safetensors" in published.fetched
    assert not any(
        "not wanted" in (tmp_path / "fetched" / name).read_text("latin-1") for name in published.fetched
    )


def test_an_index_that_asks_for_code_ends_it_before_the_weights(published: Hub, tmp_path: Path) -> None:
    (published.folder / "model_index.json").write_text('{"_class_name": ["mine", "Pipeline"]}')
    with pytest.raises(RecipeError, match="one of its own"):
        fetch("org/there", tmp_path / "fetched")
    assert published.fetched == ["model_index.json"]


def test_weights_that_are_only_pickled_are_not_fetched(published: Hub, tmp_path: Path) -> None:
    (published.folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(RecipeError, match="its unet has no weights in safetensors"):
        fetch("org/there", tmp_path / "fetched")


def test_a_repository_of_one_checkpoint_gives_that(
    published: Hub, tiny_pipelines: TinyPipelines, tmp_path: Path
) -> None:
    published.folder = tmp_path / "single"
    published.folder.mkdir()
    write_checkpoint(tiny_pipelines("sd"), published.folder / "model.safetensors")
    fetch("org/there", tmp_path / "fetched")
    assert published.fetched == ["model.safetensors"]


def test_a_repository_of_several_checkpoints_names_them(published: Hub, tmp_path: Path) -> None:
    (published.folder / "model_index.json").unlink()
    (published.folder / "other.safetensors").write_text("another")
    with pytest.raises(RecipeError, match=r"several checkpoints \(other\.safetensors, v1-5-pruned"):
        fetch("org/there", tmp_path / "fetched")


def test_configs_come_without_weights(published: Hub, tmp_path: Path) -> None:
    index = fetch_configs("org/there", tmp_path / "configs", revision=COMMIT)
    assert index.kind == "sd"
    assert {"tokenizer/vocab.json", "unet/config.json"} <= set(published.fetched)
    assert not any(name.endswith((".safetensors", ".bin", ".py")) for name in published.fetched)


def test_a_base_is_fetched_once_and_has_the_hash_of_an_imported_one(
    published: Hub, tiny_pipelines: TinyPipelines, tmp_path: Path
) -> None:
    run = FakeRun(root=tmp_path / "run")
    folder, commit = cached_base("org/there", "", run.cached)
    count = len(published.fetched)
    assert cached_base("org/there", "", run.cached) == (folder, commit)
    assert (commit, len(published.fetched)) == (COMMIT, count)
    (tmp_path / "imported").mkdir()
    convert(ModelFiles(source=tiny_pipelines("sd"), result=tmp_path / "imported"))
    assert files_sha256(folder) == files_sha256(tmp_path / "imported")


def test_a_stored_base_is_found_without_a_hub(
    tiny_pipelines: TinyPipelines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline.constants, "HF_HUB_OFFLINE", False)
    run = FakeRun(root=tmp_path, base_model_files=tiny_pipelines("sd"))
    found = find_base(TextToImageConfig(base_model="models/tiny"), run)
    assert found.folder == tiny_pipelines("sd")
    assert (found.identity.id, found.identity.sha256) == ("models/tiny", files_sha256(tiny_pipelines("sd")))
    assert offline.constants.HF_HUB_OFFLINE
