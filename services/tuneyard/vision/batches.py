"""What the samples of a step are and how they vary: order, crops, flips, RandAugment, mixup and cutmix.

Every random choice about a step is drawn before the step, for the whole effective batch, from generators
whose states go into checkpoints. So a step that is repeated with smaller micro-batches, or by a resumed run,
sees the same images.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from tuneyard.vision.config import Augmentation
from tuneyard.vision.pixels import Pixels

_ASPECT_RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Mix:
    """Each sample is mixed with its predecessor in the step, which gets the share 1 - `share`."""

    kind: Literal["mixup", "cutmix"]
    share: float
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """cutmix: left, top, right, bottom of the predecessor's patch, from 0 to 1."""


@dataclass(frozen=True)
class StepPlan:
    """All that was drawn for one step; tensors have an entry for each sample."""

    positions: Tensor
    """Positions in the training split."""
    crops: Tensor | None
    """Centre x, centre y, width, height as shares of the image."""
    flips: Tensor | None
    seeds: tuple[int, ...]
    """RandAugment's, one a sample; empty if it is off."""
    mix: Mix | None

    def __len__(self) -> int:
        return len(self.positions)


class SampleOrder:
    """Positions in a new random order each epoch."""

    def __init__(self, samples: int, *, seed: int) -> None:
        self.samples = samples
        self.epochs_done = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(samples, generator=self._generator)
        self._position = 0

    @property
    def epoch(self) -> float:
        """Passes over the data done, with the share of the current one."""
        return self.epochs_done + self._position / self.samples

    def take(self, count: int) -> Tensor:
        """The next positions: `count` of them, fewer at the end of an epoch."""
        taken = self._order[self._position : self._position + count]
        self._position += len(taken)
        if self._position == self.samples:
            self.epochs_done += 1
            self._order = torch.randperm(self.samples, generator=self._generator)
            self._position = 0
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, the current order and the place in it."""
        return {
            "generator": self._generator.get_state(),
            "order": self._order,
            "position": self._position,
            "epochs_done": self.epochs_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the state was taken; raises ValueError if that was with other samples."""
        if len(state["order"]) != self.samples:
            raise ValueError(f"the order is one of {len(state['order'])} samples, not of {self.samples}")
        self._generator.set_state(state["generator"])
        self._order, self._position = state["order"], state["position"]
        self.epochs_done = state["epochs_done"]


class Augmenter:
    """Draws what varies, and renders samples as the network sees them."""

    def __init__(
        self,
        settings: Augmentation,
        *,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._image_size = image_size
        self._generator = torch.Generator().manual_seed(seed)
        self._mix_random = random.Random(seed)
        self._randaugment = v2.RandAugment(magnitude=settings.randaugment_magnitude)
        self._device = device
        self._mean = torch.tensor(mean, device=device).mul_(255).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).mul_(255).view(1, 3, 1, 1)

    def state_dict(self) -> dict[str, Any]:
        """The states of the generators."""
        return {"generator": self._generator.get_state(), "mix_random": self._mix_random.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the state was taken."""
        self._generator.set_state(state["generator"])
        self._mix_random.setstate(state["mix_random"])

    def plan(self, positions: Tensor) -> StepPlan:
        """Draws everything for a step over these samples."""
        count, settings = len(positions), self._settings
        crops = flips = None
        seeds: tuple[int, ...] = ()
        if settings.crop_min_scale < 1:
            crops = self._draw_crops(count)
        if settings.horizontal_flip > 0:
            flips = torch.rand(count, generator=self._generator) < settings.horizontal_flip
        if settings.randaugment_magnitude > 0:
            drawn = torch.randint(2**62, (count,), generator=self._generator)
            seeds = tuple(drawn.tolist())
        return StepPlan(positions, crops, flips, seeds, self._draw_mix() if count > 1 else None)

    def _draw_crops(self, count: int) -> Tensor:
        """As torchvision's RandomResizedCrop draws them, but for a batch at once."""
        low, high = (math.log(ratio) for ratio in _ASPECT_RATIOS)
        area, ratio, x, y = torch.rand(4, count, generator=self._generator)
        area = self._settings.crop_min_scale + area * (1 - self._settings.crop_min_scale)
        ratio = torch.exp(low + ratio * (high - low))
        width = torch.sqrt(area * ratio).clamp(max=1)
        height = torch.sqrt(area / ratio).clamp(max=1)
        return torch.stack([width / 2 + x * (1 - width), height / 2 + y * (1 - height), width, height], 1)

    def _draw_mix(self) -> Mix | None:
        settings, draw = self._settings, self._mix_random
        alphas: list[tuple[Literal["mixup", "cutmix"], float]] = [
            ("mixup", settings.mixup_alpha),
            ("cutmix", settings.cutmix_alpha),
        ]
        offered = [(kind, alpha) for kind, alpha in alphas if alpha > 0]
        if not offered:
            return None
        kind, alpha = draw.choice(offered)
        share = draw.betavariate(alpha, alpha)
        if kind == "mixup":
            return Mix(kind, share)
        half, x, y = math.sqrt(1 - share) / 2, draw.random(), draw.random()
        left, right = max(0.0, x - half), min(1.0, x + half)
        top, bottom = max(0.0, y - half), min(1.0, y + half)
        return Mix(kind, share, (left, top, right, bottom))

    def images(self, pixels: Pixels, plan: StepPlan, members: Tensor) -> tuple[Tensor, float]:
        """The step's samples numbered `members`, varied and normalised, and each one's own share in the mix.

        The images are (n, 3, image_size, image_size), float32, channels last.
        """
        own = self._rendered(pixels, plan, members)
        if plan.mix is None:
            return own, 1.0
        other = self._rendered(pixels, plan, partners(plan, members))
        if plan.mix.kind == "mixup":
            return own.lerp_(other, 1 - plan.mix.share), plan.mix.share
        left, top, right, bottom = (round(edge * self._image_size) for edge in plan.mix.box)
        own[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        covered = (right - left) * (bottom - top) / self._image_size**2
        return own, 1.0 - covered

    def _rendered(self, pixels: Pixels, plan: StepPlan, members: Tensor) -> Tensor:
        raw = pixels.images(plan.positions[members]).to(self._device, non_blocking=True)
        images = raw.float()
        flips = None if plan.flips is None else plan.flips[members].to(self._device)
        if plan.crops is not None:
            images = self._cropped(images, plan.crops[members].to(self._device), flips)
        elif flips is not None:
            images = torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)
        if plan.seeds:
            images = self._randaugmented(images, [plan.seeds[member] for member in members.tolist()])
        if images.shape[-1] != self._image_size:
            images = centre(images, self._image_size)
        return images.contiguous(memory_format=torch.channels_last).sub_(self._mean).div_(self._std)

    def _cropped(self, images: Tensor, crops: Tensor, flips: Tensor | None) -> Tensor:
        x, y, width, height = crops.unbind(1)
        if flips is not None:
            width = torch.where(flips, -width, width)
        zero = torch.zeros_like(x)
        rows = [torch.stack([width, zero, 2 * x - 1], 1), torch.stack([zero, height, 2 * y - 1], 1)]
        size = [len(images), 3, self._image_size, self._image_size]
        grid = functional.affine_grid(torch.stack(rows, 1), size, align_corners=False)
        return functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _randaugmented(self, images: Tensor, seeds: list[int]) -> Tensor:
        """torchvision draws from the global generator: each sample lends it a state of its own."""
        varied = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(images.round().to(torch.uint8), seeds, strict=True):
                torch.default_generator.manual_seed(seed)
                varied.append(self._randaugment(image))
        return torch.stack(varied).float()

    def plain(self, pixels: Pixels, positions: Tensor) -> Tensor:
        """Images as evaluation sees them: the middle, normalised."""
        images = pixels.images(positions).to(self._device, non_blocking=True).float()
        images = centre(images, self._image_size).contiguous(memory_format=torch.channels_last)
        return images.sub_(self._mean).div_(self._std)

    def as_bytes(self, images: Tensor) -> Tensor:
        """Normalised images back as bytes, to be looked at."""
        return images.mul(self._std).add_(self._mean).round_().clamp_(0, 255).to(torch.uint8).cpu()


def partners(plan: StepPlan, members: Tensor) -> Tensor:
    """The numbers of the samples with which the members are mixed."""
    return (members - 1) % len(plan)


def centre(images: Tensor, size: int) -> Tensor:
    """The middle square of (n, channels, side, side)."""
    start = (images.shape[-1] - size) // 2
    return images[..., start : start + size, start : start + size]
