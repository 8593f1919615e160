import pytest
import torch

from tuneyard.vision import networks, precision

CPU = torch.device("cpu")


def decide(
    configure, run, monkeypatch, *, fp32: float, bf16: float | None, flags: bool = True, **changes
) -> str:
    measured = []

    def measure(model, *, samples, image_size):
        measured.append((samples, image_size))
        return {"fp32": fp32, "bf16": bf16}

    monkeypatch.setattr(precision, "measure", measure)
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: flags)
    changes = {"architecture": "resnet50", "image_size": 224, "precision": "auto"} | changes
    config = configure(**changes)
    model = networks.build("squeezenet1_1", classes=2, image_size=32)
    chosen = precision.choose(config, model, device=CPU, run=run)
    run.measured = measured
    return chosen


def test_bf16_is_used_where_it_is_measured_faster(draw, configure, start, monkeypatch) -> None:
    assert decide(configure, start(draw()), monkeypatch, fp32=2.0, bf16=1.0) == "bf16"


def test_bf16_is_not_used_where_it_is_slower_or_fails(draw, configure, start, monkeypatch, tmp_path) -> None:
    files = draw()
    assert decide(configure, start(files, root=tmp_path / "a"), monkeypatch, fp32=2.0, bf16=1.9) == "fp32"
    assert decide(configure, start(files, root=tmp_path / "b"), monkeypatch, fp32=2.0, bf16=None) == "fp32"


def test_nothing_is_measured_on_processors_without_it(draw, configure, start, monkeypatch) -> None:
    run = start(draw())
    assert decide(configure, run, monkeypatch, fp32=2.0, bf16=1.0, flags=False) == "fp32"
    assert run.measured == []


def test_a_measurement_is_made_once_for_jobs_of_a_kind(draw, configure, start, monkeypatch) -> None:
    files = draw()
    first, second = start(files), start(files, attempt=2)
    assert decide(configure, first, monkeypatch, fp32=2.0, bf16=1.0) == "bf16"
    assert decide(configure, second, monkeypatch, fp32=1.0, bf16=2.0) == "bf16"
    assert second.measured == []
    other = start(files, attempt=3)
    assert decide(configure, other, monkeypatch, fp32=1.0, bf16=2.0, batch_size=4) == "fp32"


@pytest.mark.parametrize(("image_size", "samples"), [(64, 16), (224, 8), (640, 2)])
def test_of_larger_images_fewer_are_measured(
    draw, configure, start, monkeypatch, image_size: int, samples: int
) -> None:
    run = start(draw())
    decide(configure, run, monkeypatch, fp32=2.0, bf16=1.0, image_size=image_size, batch_size=32)
    assert run.measured == [(samples, image_size)]


def test_what_was_asked_for_is_used(draw, configure, start) -> None:
    model = networks.build("squeezenet1_1", classes=2, image_size=32)
    assert precision.choose(configure(precision="bf16"), model, device=CPU, run=start(draw())) == "bf16"


def test_measuring_leaves_model_and_random_state_as_they_were() -> None:
    model = networks.build("resnet18", classes=2, image_size=32, dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    seconds = precision.measure(model, samples=2, image_size=32)
    assert seconds["fp32"] and seconds["fp32"] > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
