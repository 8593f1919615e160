"""How noise is put onto latents and what the network is to predict of it: diffusion, and flow matching.

Where a sample's noise is drawn from is decided by who asks: every function that draws takes a generator.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]


class NoiseProcess(Protocol):
    """A process from pictures to noise in steps; times are their numbers, int64.

    Latents and noise are (samples, channels, height, width), times and weights (samples,).
    """

    @property
    def steps(self) -> int:
        """How many times there are; the first is 0."""
        ...

    def draw_time(self, generator: torch.Generator) -> int:
        """A time for one sample, as likely as training wants it."""
        ...

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The latents as they are at those times."""
        ...

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network is to predict."""
        ...

    def weights(self, times: Tensor) -> Tensor:
        """What each sample's mean squared error counts."""
        ...

    def told(self, times: Tensor) -> Tensor:
        """The times as the network is told them."""
        ...


class Diffusion:
    """The discrete process of Stable Diffusion 1, 2 and XL: variance-preserving, 1000 steps (Ho et al. 2020).

    v-prediction is Salimans and Ho 2022 (arXiv 2202.00512), appendix D: v = alpha noise - sigma x.
    Min-SNR weighting is Hang et al. 2023 (arXiv 2303.09556), section 3.4: min(SNR, gamma) for the prediction
    of x, which is min(SNR, gamma) / SNR for that of noise and min(SNR, gamma) / (SNR + 1) for that of v.
    """

    def __init__(
        self,
        scheduler: Mapping[str, Any],
        *,
        prediction: Prediction | None = None,
        min_snr_gamma: float = 0.0,
    ) -> None:
        """`scheduler` is a pipeline's scheduler_config.json; a gamma of 0 turns the weighting off."""
        made: Any = DDPMScheduler.from_config(dict(scheduler))  # type: ignore[no-untyped-call]
        self.prediction: str = prediction or made.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"a network that predicts {self.prediction} is not trained here")
        kept: Tensor = made.alphas_cumprod
        self._alphas, self._sigmas = _Table(kept.sqrt()), _Table((1.0 - kept).sqrt())
        self._gamma = min_snr_gamma

    @property
    def steps(self) -> int:
        """As the network was trained with."""
        return len(self._alphas)

    def draw_time(self, generator: torch.Generator) -> int:
        """Each as likely as the others."""
        return int(torch.randint(self.steps, (), generator=generator))

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """alpha x + sigma noise."""
        alphas, sigmas = self._at(times, latents)
        return alphas * latents + sigmas * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The noise, or the velocity."""
        if self.prediction == "epsilon":
            return noise
        alphas, sigmas = self._at(times, latents)
        return alphas * noise - sigmas * latents

    def weights(self, times: Tensor) -> Tensor:
        """1, or those of min-SNR."""
        if not self._gamma:
            return torch.ones(len(times), device=times.device)
        signal = self.signal_to_noise(times)
        if self.prediction == "v_prediction":
            return signal.clamp(max=self._gamma) / (signal + 1)
        # As min(SNR, gamma) / SNR, but 1 and not 0/0 where a schedule ends in nothing but noise.
        return (self._gamma / signal).clamp(max=1.0)

    def signal_to_noise(self, times: Tensor) -> Tensor:
        """(alpha / sigma) squared."""
        return (self._alphas[times] / self._sigmas[times]) ** 2

    def told(self, times: Tensor) -> Tensor:
        """Their numbers."""
        return times

    def _at(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return _spread(self._alphas[times], like), _spread(self._sigmas[times], like)


class FlowMatching:
    """Rectified flow, as of Stable Diffusion 3 (Esser et al. 2024, arXiv 2403.03206): straight lines from
    pictures to noise, along which the network predicts the velocity.

    Times are drawn by the logit-normal density of section 3.1, with mean 0 and deviation 1, which diffusers'
    recipe uses too; the shift of section 5.3.2 is the pipeline's own. Time 0 is pure noise.
    """

    def __init__(self, scheduler: Mapping[str, Any]) -> None:
        """`scheduler` is a pipeline's scheduler_config.json."""
        made: Any = FlowMatchEulerDiscreteScheduler.from_config(dict(scheduler))  # type: ignore[no-untyped-call]
        if made.config.use_dynamic_shifting:
            raise ValueError("a shift that depends on the resolution is not trained with here")
        self._sigmas, self._told = _Table(made.sigmas), _Table(made.timesteps)

    @property
    def steps(self) -> int:
        """As the scheduler divides the line."""
        return len(self._told)

    def draw_time(self, generator: torch.Generator) -> int:
        """The middle of the line more often than its ends."""
        place = torch.sigmoid(torch.randn((), generator=generator))
        return min(int(place * self.steps), self.steps - 1)

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """(1 - sigma) x + sigma noise."""
        sigmas = _spread(self._sigmas[times], latents)
        return (1.0 - sigmas) * latents + sigmas * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """noise - x, at whatever time."""
        return noise - latents

    def weights(self, times: Tensor) -> Tensor:
        """1: that some times matter more is in how often they are drawn."""
        return torch.ones(len(times), device=times.device)

    def told(self, times: Tensor) -> Tensor:
        """1000 sigma."""
        return self._told[times]


def draw_noise(shape: tuple[int, ...], *, generator: torch.Generator, offset: float = 0.0) -> Tensor:
    """Noise for one sample's latents, (channels, height, width), in fp32 on the CPU.

    `offset` is the weight of noise that is the same all over a channel, which lets a network learn to make
    pictures that are dark or bright as a whole (Guttenberg 2023, "Diffusion with offset noise").
    """
    noise = torch.randn(shape, generator=generator)
    if offset:
        noise += offset * torch.randn((shape[0], 1, 1), generator=generator)
    return noise


def even_times(process: NoiseProcess, count: int) -> list[int]:
    """Times in the middles of `count` equal parts: for evaluations, which always use the same ones."""
    return [int((number + 0.5) * process.steps / count) for number in range(count)]


class _Table:
    """Numbers by time, kept on each device that asked for them, so that no step waits for a device."""

    def __init__(self, values: Tensor) -> None:
        self._values = values.to("cpu", torch.float32)
        self._copies = {self._values.device: self._values}

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, times: Tensor) -> Tensor:
        if times.device not in self._copies:
            self._copies[times.device] = self._values.to(times.device)
        return self._copies[times.device][times]


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *([1] * (like.ndim - 1)))
