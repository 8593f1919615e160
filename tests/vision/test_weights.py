import pytest
import torch
from safetensors.torch import save_file

from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import networks, weights


def imported(folder, architecture: str = "squeezenet1_1", classes: int = 9):
    folder.mkdir()
    state = networks.build(architecture, classes=classes, image_size=32).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    return state


def test_imported_weights_are_used_and_named(draw, configure, start, tmp_path) -> None:
    state = imported(tmp_path / "model")
    run = start(draw(), base_model_files=tmp_path / "model")
    model, source = weights.initial_model(configure(pretrained=True, base_model="models/mine"), 3, run=run)
    assert source == "models/mine"
    assert torch.equal(model.state_dict()["features.0.weight"], state["features.0.weight"])


def test_a_pickled_state_dict_is_read_but_nothing_that_runs_code(draw, configure, start, tmp_path) -> None:
    (tmp_path / "good").mkdir()
    state = networks.build("squeezenet1_1", classes=9, image_size=32).state_dict()
    torch.save({"state_dict": state}, tmp_path / "good" / "weights.pth")
    good = start(draw("a"), base_model_files=tmp_path / "good", root=tmp_path / "run-a")
    assert weights.initial_model(configure(pretrained=True), 3, run=good)[0]
    (tmp_path / "evil").mkdir()
    torch.save(print, tmp_path / "evil" / "weights.pth")
    evil = start(draw("b"), base_model_files=tmp_path / "evil", root=tmp_path / "run-b")
    with pytest.raises(RecipeError, match="cannot be read safely"):
        weights.initial_model(configure(pretrained=True), 3, run=evil)


def test_imported_weights_of_another_architecture_are_refused(draw, configure, start, tmp_path) -> None:
    imported(tmp_path / "model", "mobilenet_v3_small")
    with pytest.raises(RecipeError) as failed:
        weights.initial_model(
            configure(pretrained=True), 3, run=start(draw(), base_model_files=tmp_path / "model")
        )
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_pretrained_is_never_silently_random(draw, configure, start, monkeypatch, tmp_path) -> None:
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(RecipeError) as failed:
        weights.initial_model(configure(pretrained=True), 3, run=start(draw()))
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"
    assert any("tuneyard models import" in remedy for remedy in failed.value.remedies)
    assert any("pretrained" in remedy for remedy in failed.value.remedies)


def test_weights_in_torch_hubs_cache_need_no_network(draw, configure, start, monkeypatch, tmp_path) -> None:
    weight = networks.default_weights("squeezenet1_1")
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    state = networks.build("squeezenet1_1", classes=1000, image_size=32).state_dict()
    torch.save(state, cache / weight.url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model, source = weights.initial_model(configure(pretrained=True), 3, run=start(draw()))
    assert source == f"torchvision {weight.name}"
    assert torch.equal(model.state_dict()["features.0.weight"], state["features.0.weight"])
