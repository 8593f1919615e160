"""Every kind of model: texts and predictions are those of diffusers' pipelines, and adapters learn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny_diffusion import FAMILIES, Family, tiny_sd3
from tuneyard.diffusion.config import Lora
from tuneyard.diffusion.denoiser import Denoiser, Frame, TextEncoders, sample_losses
from tuneyard.diffusion.loras import add_loras
from tuneyard.diffusion.models import load_denoiser, load_text, noise_process
from tuneyard.diffusion.noise import draw_noise
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.trainer.errors import RecipeError

TinyPipelines = Callable[[Family], Path]
CPU = torch.device("cpu")
CAPTIONS = ["a red circle on paper", "two striped cats, night"]
FRAME = Frame((64, 64), (0, 0), (64, 64))


def parts_of(folder: Path) -> tuple[Denoiser, TextEncoders]:
    pipeline = open_pipeline(folder)
    return (
        load_denoiser(pipeline, dtype=torch.float32, device=CPU),
        load_text(pipeline, dtype=torch.float32, device=CPU),
    )


def assembled(folder: Path) -> Any:
    pipeline = open_pipeline(folder)
    denoiser, text = parts_of(folder)
    return pipeline.assemble(
        {**text.modules, denoiser.part: denoiser.network, "vae": pipeline.load_vae(device=CPU)}
    )


def batch_for(denoiser: Denoiser) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 8, generator=source)
    noise = torch.stack([draw_noise((4, 8, 8), generator=source) for _ in range(2)])
    return latents, noise, torch.tensor([denoiser.process.draw_time(source) for _ in range(2)])


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_are_encoded_as_the_pipeline_does(tiny_pipelines: TinyPipelines, family: Family) -> None:
    pipeline = assembled(tiny_pipelines(family))
    prompts = {"prompt": CAPTIONS, **{f"prompt_{n}": None for n in (2, 3) if (n, family) in _MORE}}
    hidden, empty, *pooled = pipeline.encode_prompt(
        **prompts, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=True
    )
    _, text = parts_of(tiny_pipelines(family))
    with torch.no_grad():
        found, dropped = text.encode(CAPTIONS), text.encode([""])
    torch.testing.assert_close(found.hidden, hidden)
    torch.testing.assert_close(dropped.hidden, empty[:1])
    if pooled:
        torch.testing.assert_close(found.pooled, pooled[0])
        torch.testing.assert_close(dropped.pooled, pooled[1][:1])


_MORE = {(2, "sdxl"), (2, "sd3"), (3, "sd3")}


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_what_the_pipeline_asks_of_its_network(
    tiny_pipelines: TinyPipelines, family: Family
) -> None:
    pipeline = assembled(tiny_pipelines(family))
    denoiser, text = parts_of(tiny_pipelines(family))
    network, asked = getattr(pipeline, denoiser.part), []
    forward = network.forward

    def listening(*args: Any, **kwargs: Any) -> Any:
        answer = forward(*args, **kwargs)
        asked.append((args[0] if args else kwargs["hidden_states"], args, kwargs, answer[0]))
        return answer

    network.forward = listening
    pipeline(
        CAPTIONS[0], num_inference_steps=3, height=64, width=64, guidance_scale=1.0, output_type="latent"
    )
    noisy, args, kwargs, answer = asked[-1]
    told = kwargs["timestep"] if "timestep" in kwargs else args[1]
    times = (noise_times(denoiser) - told.flatten()[0]).abs().argmin().reshape(1)
    with torch.no_grad():
        found = denoiser.predict(noisy, times, text.encode(CAPTIONS[:1]), [FRAME])
    torch.testing.assert_close(found, answer, atol=1e-3, rtol=1e-3)


def noise_times(denoiser: Denoiser) -> Tensor:
    return denoiser.process.told(torch.arange(denoiser.process.steps)).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_learns_one_picture(tiny_pipelines: TinyPipelines, family: Family) -> None:
    torch.manual_seed(0)
    denoiser, text = parts_of(tiny_pipelines(family))
    adapted = add_loras(denoiser.part, denoiser.network, {}, Lora(r=4))
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    latents, noise, times = batch_for(denoiser)
    with torch.no_grad():
        encoded = text.encode(CAPTIONS)
    losses = []
    for _ in range(12):
        each = sample_losses(denoiser, latents, noise, times, text=encoded, frames=[FRAME, FRAME])
        each.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(each.mean().item())
    assert losses[-1] < 0.95 * losses[0]


def test_a_loss_is_the_same_alone_and_beside_others(tiny_pipelines: TinyPipelines) -> None:
    denoiser, text = parts_of(tiny_pipelines("sdxl"))
    latents, noise, times = batch_for(denoiser)
    frames = [FRAME, Frame((32, 48), (4, 0), (64, 64))]
    with torch.no_grad():
        encoded = text.encode(CAPTIONS)
        both = sample_losses(denoiser, latents, noise, times, text=encoded, frames=frames)
        second = sample_losses(
            denoiser, latents[1:], noise[1:], times[1:], text=encoded[1:], frames=frames[1:]
        )
    torch.testing.assert_close(both[1:], second)


def test_sdxl_is_told_where_an_image_was_cropped(tiny_pipelines: TinyPipelines) -> None:
    denoiser, text = parts_of(tiny_pipelines("sdxl"))
    latents, _, times = batch_for(denoiser)
    with torch.no_grad():
        encoded = text.encode(CAPTIONS)
        whole = denoiser.predict(latents, times, encoded, [FRAME, FRAME])
        cropped = denoiser.predict(latents, times, encoded, [FRAME, Frame((128, 64), (32, 0), (64, 64))])
    assert torch.equal(whole[0], cropped[0])
    assert not torch.allclose(whole[1], cropped[1])


def test_min_snr_weighs_each_sample(tiny_pipelines: TinyPipelines) -> None:
    pipeline = open_pipeline(tiny_pipelines("sd"))
    denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU, min_snr_gamma=5.0)
    latents, noise, _ = batch_for(denoiser)
    times = torch.tensor([10, 900])
    text = load_text(pipeline, dtype=torch.float32, device=CPU).encode(CAPTIONS)
    losses = [
        sample_losses(denoiser, latents, noise, times, text=text, frames=[FRAME, FRAME], weighted=weighted)
        for weighted in (True, False)
    ]
    torch.testing.assert_close(losses[0] / losses[1], denoiser.process.weights(times))


def test_tokens_are_counted_before_a_caption_is_cut(tiny_pipelines: TinyPipelines) -> None:
    _, text = parts_of(tiny_pipelines("sd"))
    assert text.count_tokens("circle") == 3
    assert text.count_tokens("red circle " * 60) == 122 > text.max_tokens == 77


def test_sd3_does_without_its_largest_text_encoder(tmp_path: Path) -> None:
    _, text = parts_of(tiny_sd3(tmp_path / "sd3", t5=False))
    found = text.encode(CAPTIONS)
    assert found.hidden.shape == (2, 77 + 256, 96)
    assert not found.hidden[:, 77:].any()


def test_flow_matching_knows_no_min_snr(tiny_pipelines: TinyPipelines) -> None:
    with pytest.raises(RecipeError, match="min_snr_gamma"):
        noise_process(open_pipeline(tiny_pipelines("sd3")), min_snr_gamma=5.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_in_bf16_gives_nearly_the_losses_of_fp32(
    tiny_pipelines: TinyPipelines, family: Family
) -> None:
    pipeline = open_pipeline(tiny_pipelines(family))
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        denoiser = load_denoiser(pipeline, dtype=dtype, device=CPU)
        latents, noise, times = batch_for(denoiser)
        with torch.no_grad():
            text = load_text(pipeline, dtype=dtype, device=CPU).encode(CAPTIONS)
            losses.append(sample_losses(denoiser, latents, noise, times, text=text, frames=[FRAME, FRAME]))
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], atol=0.02, rtol=0.02)
