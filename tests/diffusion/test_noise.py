"""Noise and targets against diffusers' own schedulers and the maths of its training examples."""

import copy
import math
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
    compute_snr,
)
from torch import Tensor

from tuneyard.diffusion.noise import Diffusion, FlowMatching, draw_noise, even_times

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW = {"num_train_timesteps": 1000, "shift": 3.0}
TIMES = torch.tensor([0, 1, 250, 500, 998, 999])


def scheduler(**settings: Any) -> Any:
    return DDPMScheduler(num_train_timesteps=1000, **SCHEDULE, **settings)


def latents_and_noise() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    shape = (len(TIMES), 4, 8, 8)
    return torch.randn(shape, generator=source), torch.randn(shape, generator=source)


def test_noisy_latents_are_those_of_diffusers() -> None:
    latents, noise = latents_and_noise()
    expected = scheduler().add_noise(latents, noise, TIMES)
    torch.testing.assert_close(Diffusion(SCHEDULE).noisy(latents, noise, TIMES), expected)


def test_a_network_of_epsilon_predicts_the_noise() -> None:
    latents, noise = latents_and_noise()
    assert torch.equal(Diffusion(SCHEDULE).target(latents, noise, TIMES), noise)


def test_a_network_of_v_predicts_the_velocity_of_diffusers() -> None:
    latents, noise = latents_and_noise()
    found = Diffusion({**SCHEDULE, "prediction_type": "v_prediction"}).target(latents, noise, TIMES)
    torch.testing.assert_close(found, scheduler().get_velocity(latents, noise, TIMES))


def test_the_velocity_gives_back_both_picture_and_noise() -> None:
    # Salimans and Ho 2022, appendix D: x = alpha z - sigma v, noise = sigma z + alpha v.
    latents, noise = latents_and_noise()
    process = Diffusion(SCHEDULE, prediction="v_prediction")
    noisy, velocity = process.noisy(latents, noise, TIMES), process.target(latents, noise, TIMES)
    signal = process.signal_to_noise(TIMES).reshape(-1, 1, 1, 1)
    alpha, sigma = (signal / (1 + signal)).sqrt(), (1 / (1 + signal)).sqrt()
    torch.testing.assert_close(alpha * noisy - sigma * velocity, latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sigma * noisy + alpha * velocity, noise, atol=1e-4, rtol=1e-4)


def test_the_settings_win_over_the_scheduler_about_what_is_predicted() -> None:
    process = Diffusion({**SCHEDULE, "prediction_type": "v_prediction"}, prediction="epsilon")
    assert process.prediction == "epsilon"


def test_a_network_that_predicts_the_picture_is_not_trained() -> None:
    with pytest.raises(ValueError, match="sample"):
        Diffusion({**SCHEDULE, "prediction_type": "sample"})


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_those_of_the_training_example(prediction: Any) -> None:
    # As examples/text_to_image/train_text_to_image_lora.py weighs its losses.
    signal = compute_snr(scheduler(), TIMES)
    expected = torch.stack([signal, 5.0 * torch.ones_like(TIMES)], dim=1).min(dim=1)[0]
    expected = expected / signal if prediction == "epsilon" else expected / (signal + 1)
    found = Diffusion(SCHEDULE, prediction=prediction, min_snr_gamma=5.0).weights(TIMES)
    torch.testing.assert_close(found, expected)


def test_min_snr_keeps_the_noisy_times_and_tames_the_clean_ones() -> None:
    process = Diffusion(SCHEDULE, min_snr_gamma=5.0)
    weights = process.weights(TIMES)
    assert weights[-1] == 1.0
    assert weights[0] == pytest.approx(5.0 / float(process.signal_to_noise(TIMES)[0]), rel=1e-5)


def test_without_a_gamma_every_time_counts_the_same() -> None:
    assert torch.equal(Diffusion(SCHEDULE).weights(TIMES), torch.ones(len(TIMES)))


def test_weights_are_numbers_where_the_schedule_ends_in_nothing_but_noise() -> None:
    settings = {**SCHEDULE, "rescale_betas_zero_snr": True}
    for prediction in ("epsilon", "v_prediction"):
        weights = Diffusion(settings, prediction=prediction, min_snr_gamma=5.0).weights(TIMES)
        assert torch.isfinite(weights).all()


def test_flow_matching_is_the_maths_of_the_training_example() -> None:
    # As examples/dreambooth/train_dreambooth_lora_sd3.py computes them, without preconditioned outputs.
    example = copy.deepcopy(FlowMatchEulerDiscreteScheduler(**FLOW))
    latents, noise = latents_and_noise()
    timesteps = example.timesteps[TIMES]
    places = [(example.timesteps == time).nonzero().item() for time in timesteps]
    sigmas = example.sigmas[places].flatten().reshape(-1, 1, 1, 1)
    process = FlowMatching(FLOW)
    torch.testing.assert_close(
        process.noisy(latents, noise, TIMES), (1.0 - sigmas) * latents + sigmas * noise
    )
    torch.testing.assert_close(process.target(latents, noise, TIMES), noise - latents)
    torch.testing.assert_close(process.told(TIMES), timesteps)
    weights = compute_loss_weighting_for_sd3("logit_normal", sigmas).flatten()
    torch.testing.assert_close(process.weights(TIMES), weights)


def test_flow_matching_draws_times_as_the_training_example_does() -> None:
    process, source = FlowMatching(FLOW), torch.Generator().manual_seed(0)
    own = torch.tensor([process.draw_time(source) for _ in range(4000)]).float()
    density = compute_density_for_timestep_sampling(
        "logit_normal", 4000, logit_mean=0.0, logit_std=1.0, generator=source
    )
    theirs = (density * 1000).long().float()
    marks = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    assert (own.quantile(marks) - theirs.quantile(marks)).abs().max() < 25


def test_diffusion_draws_every_time_as_often_as_the_others() -> None:
    process, source = Diffusion(SCHEDULE), torch.Generator().manual_seed(0)
    drawn = torch.tensor([process.draw_time(source) for _ in range(4000)])
    counts = torch.histc(drawn.float(), bins=4, min=0, max=1000)
    assert (counts - 1000).abs().max() < 4 * math.sqrt(750)


def test_noise_offset_moves_whole_channels() -> None:
    # "Diffusion with offset noise": noise + offset * randn(channels, 1, 1).
    plain = draw_noise((4, 8, 8), generator=torch.Generator().manual_seed(1))
    moved = draw_noise((4, 8, 8), generator=torch.Generator().manual_seed(1), offset=0.1)
    differences = (moved - plain).flatten(1)
    assert differences.std(dim=1).max() < 1e-6
    assert differences.mean(dim=1).abs().min() > 0


def test_even_times_divide_all_times() -> None:
    assert even_times(Diffusion(SCHEDULE), 4) == [125, 375, 625, 875]


def test_a_flow_whose_shift_follows_the_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution"):
        FlowMatching({**FLOW, "use_dynamic_shifting": True})
