import re
from pathlib import Path

import pytest

from tuneyard.llm.builtin_templates import BUILTIN
from tuneyard.llm.catalogue import KNOWN, base_models, find
from tuneyard.llm.config import language_model_config
from tuneyard.llm.recommended import resolve
from tuneyard.llm.workload import GUIDE_MEMORY
from tuneyard.trainer.cache import Cache
from tuneyard.trainer.hub_places import HUB_CACHE, HubPlaces, cache_key
from tuneyard.trainer.workloads import GIB
from tuneyard.v1 import model_service_pb2, trainer_service_pb2, training_pb2

PUBLISHED = {
    "mistral-7b": 7_241_732_096,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "phi-2": 2_779_683_840,
    "qwen-7b": 7_615_616_512,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "tinyllama-1.1b": 1_100_048_384,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
}


def test_every_model_has_as_many_weights_as_was_published() -> None:
    assert {known.id: known.facts.parameters for known in KNOWN} == PUBLISHED


def test_every_model_is_pinned_to_a_commit_and_says_what_it_is() -> None:
    for model in base_models():
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision), model.id
        assert model.hub_id.count("/") == 1 and model.license and model.description
        assert model.family == training_pb2.FAMILY_LLM
        assert 0 < model.minimum_memory_bytes <= model.recommended_memory_bytes


def test_one_model_is_recommended_and_comes_first() -> None:
    assert [model.is_recommended for model in base_models()].count(True) == 1
    assert base_models()[0].is_recommended


def test_a_model_is_found_by_its_id_and_its_hub_id() -> None:
    for known in KNOWN:
        found = find(known.hub_id)
        assert find(known.id) is known
        assert found and found.hub_id == known.hub_id
    assert find("someone/else") is None


def test_7b_models_have_the_guide_s_memory() -> None:
    (llama,) = (model for model in base_models() if model.id == "llama-2-7b")
    assert (llama.minimum_memory_bytes, llama.recommended_memory_bytes) == GUIDE_MEMORY["lora"]
    assert GUIDE_MEMORY == {"lora": (16 * GIB, 24 * GIB), "qlora": (8 * GIB, 12 * GIB)}


def test_recommended_settings_are_a_config_of_their_own() -> None:
    for model in base_models():
        request = trainer_service_pb2.StartRunRequest()
        request.spec.training.CopyFrom(model.recommended)
        config = language_model_config(request)
        assert (config.base_model, config.effective_batch_size, config.method) == (model.id, 16, "lora")
        assert resolve(model.recommended) == model.recommended


def test_recommended_templates_are_built_in() -> None:
    assert {known.chat_template for known in KNOWN} - {""} <= set(BUILTIN)


@pytest.mark.parametrize(
    ("offline", "token", "open_model", "gated_model"),
    [
        (False, True, "FETCHABLE", "FETCHABLE"),
        (False, False, "FETCHABLE", "IMPORT_NEEDED"),
        (True, True, "IMPORT_NEEDED", "IMPORT_NEEDED"),
    ],
)
def test_availability_follows_from_the_network_and_the_token(
    tmp_path: Path, offline: bool, token: bool, open_model: str, gated_model: str
) -> None:
    found = {model.id: model.availability for model in base_models(HubPlaces(tmp_path, offline, token))}
    named = {name: model_service_pb2.Availability.Name(value) for name, value in found.items()}
    assert named["mistral-7b"] == f"AVAILABILITY_{open_model}"
    assert named["llama-2-7b"] == f"AVAILABILITY_{gated_model}"


def test_what_a_run_fetched_is_cached_from_then_on(tmp_path: Path) -> None:
    known = find("llama-2-7b")
    assert known
    cache = Cache(tmp_path)
    cache.entry(HUB_CACHE, cache_key(known.hub_id, known.revision), lambda folder: None)
    cache.close()
    places = HubPlaces(tmp_path, offline=True)
    assert places.can_be_had(known.hub_id, known.revision, gated=True)
    assert not places.can_be_had(known.hub_id, "0" * 40, gated=True)


def test_a_token_is_found_where_the_hub_s_library_looks(tmp_path: Path) -> None:
    def has_token(**environment: str) -> bool:
        return HubPlaces.of(
            {"HF_HOME": str(tmp_path), **environment}, trainer_cache=tmp_path, offline=False
        ).has_token

    assert not has_token()
    assert has_token(HF_TOKEN="hf_x")
    (tmp_path / "token").write_text("hf_x")
    assert has_token()
