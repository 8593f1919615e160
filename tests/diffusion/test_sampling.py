"""Sample images: bounded, out of training's way, with the base's drawn once."""

import pytest
import torch
from PIL import Image

from tuneyard.diffusion import sampling
from tuneyard.diffusion.config import Lora
from tuneyard.diffusion.loras import add_loras
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.sampling import Prompts, Sampler
from tuneyard.trainer.errors import Stop, Stopped

CPU = torch.device("cpu")


@pytest.fixture
def run(upload, start):
    return start(upload())


@pytest.fixture
def sampler(run, tiny_pipelines):
    pipeline = open_pipeline(tiny_pipelines("sd"))
    denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
    adapted = add_loras(denoiser.part, denoiser.network, {}, Lora(r=2))
    text = load_text(pipeline, dtype=torch.float32, device=CPU)
    prompts = Prompts(("a red circle", "a\nblue " + "very " * 30 + "large cross"), side=64, seed=3)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.5)
    return Sampler(
        pipeline, prompts, torch.no_grad()(text.encode), adapted=adapted, device=CPU, identity="tiny", run=run
    )


def shown(run) -> Image.Image:
    return Image.open(run.artifacts[run.all_of("sample")[-1]["artifact"]].path)


def cells(picture: Image.Image) -> list[list[bytes]]:
    return [
        [picture.crop((left, top, left + 64, top + 64)).tobytes() for left in (0, 68)] for top in (20, 88)
    ]


def test_a_row_shows_the_base_and_the_tuned_model(sampler, run) -> None:
    assert sampler.show(step=7).artifact == "samples/step-000007.png"
    (first, second) = cells(shown(run))
    assert len({*first, *second}) == 4
    title = run.all_of("sample")[0]["title"]
    assert "a red circle" in title and "\n" not in title and len(title) < 160


def test_the_same_weights_draw_the_same_and_no_random_state_moves(sampler, run) -> None:
    sampler.show(step=1)
    before, first = torch.get_rng_state(), cells(shown(run))
    sampler.show(step=2)
    assert cells(shown(run)) == first and torch.equal(torch.get_rng_state(), before)


def test_the_bases_pictures_are_drawn_once(sampler, run, monkeypatch) -> None:
    drawn = []
    draw = sampling._Artist.draw
    monkeypatch.setattr(
        sampling._Artist, "draw", lambda *given, **named: drawn.append(1) or draw(*given, **named)
    )
    for step, expected in ((1, 4), (2, 6)):
        sampler.show(step=step)
        assert len(drawn) == expected


def test_what_there_is_no_time_for_stays_grey(sampler, run, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "_SECONDS", 0.0)
    sampler.show(step=1)
    first, second = cells(shown(run))
    grey = Image.new("RGB", (64, 64), "lightgrey").tobytes()
    assert second == [grey, grey] and grey not in first


def test_a_lack_of_memory_is_told_and_ends_nothing(sampler, run, monkeypatch) -> None:
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(sampling._Artist, "draw", none)
    assert sampler.show(step=1).artifact == ""
    assert [warning["code"] for warning in run.all_of("warning")] == ["no_room_to_sample"]


def test_a_cancel_is_followed_between_two_denoising_steps(sampler, run) -> None:
    run.request_stop(Stop.CANCEL)
    with pytest.raises(Stopped):
        sampler.show(step=1)
    assert not run.all_of("sample")
