"""What a training reads: its samples, where their latents and captions come from, and a step's samples as
tensors. What is random about a sample depends on the seed and the sample alone (see `draws`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tuneyard.datasets.words import counted
from tuneyard.diffusion.buckets import Bucket, bucket_of, make_buckets
from tuneyard.diffusion.captions import is_dropped, sample_prompts, tell_of_captions
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.denoiser import EncodedText, Frame, TextEncoders
from tuneyard.diffusion.draws import Draw, generator
from tuneyard.diffusion.latents import (
    FreshLatents,
    KeptTexts,
    LatentSource,
    ReadPixels,
    keep_latents,
    keep_texts,
)
from tuneyard.diffusion.noise import NoiseProcess, draw_noise
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.pixels import Framing, draw_framing, file_sha256, read_pixels
from tuneyard.diffusion.samples import Sample, Splits, make_splits, tell_of_samples
from tuneyard.trainer.run import Run


@dataclass(frozen=True)
class Picture:
    """A sample with what its latents are known by."""

    sample: Sample
    sha256: str
    """Of the file."""
    bucket: Bucket

    def key(self, framing: Framing) -> str:
        """Names the bytes and the framing."""
        return f"{self.sha256}:{framing.key}"

    def reader(self, framing: Framing) -> ReadPixels:
        """Reads the pixels when it is called."""
        return partial(_read, self.sample, framing)

    def frame(self, framing: Framing) -> Frame:
        """The sizes that SDXL is told, as `pixels.frame` tells them, without reading a pixel."""
        (width, height), bucket = self.sample.size, framing.bucket
        scale = max(bucket.width / width, bucket.height / height)
        over = max(bucket.width, round(width * scale)) - bucket.width
        below = max(bucket.height, round(height * scale)) - bucket.height
        crop = (round(below * framing.down), round(over * framing.across))
        return Frame((height, width), crop, (bucket.height, bucket.width))


@dataclass(frozen=True)
class Batch:
    """Samples of one bucket as a network is trained on them: fp32, on the run's device."""

    latents: Tensor
    """(samples, channels, height, width)"""
    noise: Tensor
    times: Tensor
    """(samples,)"""
    weights: Tensor
    """What each sample's loss counts: the prior's weight for class images."""
    captions: tuple[str, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class TrainingData:
    """Everything that a training reads."""

    splits: Splits
    train: tuple[Picture, ...]
    """Instance images, then class images: positions of draws count in it."""
    validation: tuple[Picture, ...]
    prompts: tuple[str, ...]
    """Of sample images."""
    latents: LatentSource
    kept_texts: KeptTexts | None
    """None where captions are encoded anew each time."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of `train`, in its order."""
        return tuple(picture.sample for picture in self.train)

    @property
    def identity(self) -> str:
        """Changes where a checkpoint's next step would see other samples than were to come."""
        lines = [
            f"{each.sha256}:{each.sample.name}:{each.sample.caption}:{each.bucket}" for each in self.train
        ]
        facts = (self.splits.train_sha256, self.splits.held_out_sha256, *lines)
        return hashlib.sha256("\x00".join(facts).encode()).hexdigest()


class OneByOne:
    """Encodes each caption alone, so that the numbers do not depend on its neighbours; with a past where the
    encoders are trained.
    """

    def __init__(self, encoders: TextEncoders) -> None:
        self._encoders = encoders

    def encoded(self, captions: Sequence[str]) -> EncodedText:
        """In their order; a caption that occurs twice is encoded once."""
        found = {caption: self._encoders.encode([caption]) for caption in dict.fromkeys(captions)}
        return EncodedText.cat([found[caption] for caption in captions])


class Feed:
    """Makes the samples of a step into batches."""

    def __init__(
        self,
        data: TrainingData,
        config: TextToImageConfig,
        process: NoiseProcess,
        *,
        device: torch.device,
        threads: int,
    ) -> None:
        """`threads` read images, where latents are not kept."""
        self._data = data
        self._config = config
        self._process = process
        self._device = device
        self._pool = ThreadPoolExecutor(max(1, threads)) if isinstance(data.latents, FreshLatents) else None
        self._reading: dict[Draw, ReadPixels] = {}

    def bucket(self, draw: Draw) -> Bucket:
        """That the sample is trained in."""
        return self._data.train[draw.position].bucket

    def expect(self, draws: Sequence[Draw]) -> None:
        """Begins to read the images of a step that is to come, where they have to be read."""
        if self._pool is None:
            return
        self._reading = {
            draw: self._reading.get(draw) or self._pool.submit(self._reader(draw)).result for draw in draws
        }

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """Samples of one bucket."""
        pictures = [self._data.train[draw.position] for draw in draws]
        latents = torch.stack([self._latents(draw) for draw in draws])
        noise = torch.stack([self._noise(draw, latents.shape[1:]) for draw in draws])
        times = [self._process.draw_time(self._draws(draw, "timestep")) for draw in draws]
        weights = [self._config.prior_loss_weight if picture.sample.is_class else 1.0 for picture in pictures]
        return Batch(
            latents=latents.to(self._device),
            noise=noise.to(self._device),
            times=torch.tensor(times, device=self._device),
            weights=torch.tensor(weights, device=self._device),
            captions=tuple(self._caption(draw) for draw in draws),
            frames=tuple(self._data.train[draw.position].frame(self._framing(draw)) for draw in draws),
        )

    def _latents(self, draw: Draw) -> Tensor:
        picture, framing = self._data.train[draw.position], self._framing(draw)
        read = self._reading.get(draw) or picture.reader(framing)
        return self._data.latents.moments(picture.key(framing), read).draw(self._draws(draw, "latent"))

    def _noise(self, draw: Draw, shape: Sequence[int]) -> Tensor:
        return draw_noise(
            tuple(shape), generator=self._draws(draw, "noise"), offset=self._config.noise_offset
        )

    def _caption(self, draw: Draw) -> str:
        dropped = is_dropped(self._config.caption_dropout, generator=self._draws(draw, "caption_dropout"))
        return "" if dropped else self._data.train[draw.position].sample.caption

    def _reader(self, draw: Draw) -> ReadPixels:
        return self._data.train[draw.position].reader(self._framing(draw))

    def _framing(self, draw: Draw) -> Framing:
        return draw_framing(
            self.bucket(draw),
            horizontal_flip=self._config.horizontal_flip,
            random_crop=self._config.random_crop,
            generator=self._draws(draw, "framing"),
        )

    @property
    def _draws(self) -> Callable[..., torch.Generator]:
        return partial(generator, self._config.seed)


def prepare_data(
    config: TextToImageConfig, run: Run, pipeline: Pipeline, *, dtype: torch.dtype, device: torch.device
) -> TrainingData:
    """Splits the dataset, and computes the latents and texts that are kept: what computed them is gone then.

    Raises RecipeError DATASET_INVALID, DATASET_UNREADABLE, BASE_MODEL_UNAVAILABLE, STORAGE_FULL, and Stopped.
    """
    splits = make_splits(config, run)
    tell_of_samples(splits, config, run)
    tell_of_captions(splits, pipeline.load_tokenizers(), run)
    prompts = sample_prompts(config, splits)
    buckets = make_buckets(config.resolution)
    with ThreadPoolExecutor(max(1, config.data_loader_workers or run.cpu_threads)) as pool:
        train = tuple(_pictures((*splits.train, *splits.class_images), buckets, pool))
        validation = tuple(_pictures(splits.validation, buckets, pool))
    latents = _latents(config, run, pipeline, train, validation, device=device)
    captions = {picture.sample.caption for picture in (*train, *validation)}
    kept = None
    if config.cache_latents and not config.train_text_encoder:
        with run.stage("encode_captions", counted(len(captions), "caption")):
            wanted = sorted({*captions, *prompts, ""})
            kept = keep_texts(wanted, pipeline, dtype=dtype, device=device, run=run)
    return TrainingData(splits, train, validation, prompts, latents, kept)


def keeps_latents(config: TextToImageConfig) -> bool:
    """Whether latents are computed once: a crop at random is another image each time."""
    return config.cache_latents and not config.random_crop


def _latents(
    config: TextToImageConfig,
    run: Run,
    pipeline: Pipeline,
    train: Sequence[Picture],
    validation: Sequence[Picture],
    *,
    device: torch.device,
) -> LatentSource:
    if config.cache_latents and config.random_crop:
        run.warn(
            "latents_not_kept",
            "Images are encoded anew each time they are seen, because random_crop shows other parts of them"
            " each time: without it, a step takes much less time.",
        )
    if not keeps_latents(config):
        return FreshLatents(pipeline.load_vae(device=device))
    images: dict[str, ReadPixels] = {}
    for picture in train:
        for flip in _flips(config):
            framing = Framing(picture.bucket, flip=flip)
            images[picture.key(framing)] = picture.reader(framing)
    for picture in validation:
        framing = Framing(picture.bucket)
        images[picture.key(framing)] = picture.reader(framing)
    with run.stage("encode_images", counted(len(images), "image")):
        return keep_latents(images, pipeline, device=device, run=run)


def _flips(config: TextToImageConfig) -> tuple[bool, ...]:
    """As what an image may be seen: as it is, mirrored, or both."""
    return (*((False,) if config.horizontal_flip < 1 else ()), *((True,) if config.horizontal_flip else ()))


def _pictures(
    samples: Sequence[Sample], buckets: Sequence[Bucket], pool: ThreadPoolExecutor
) -> Iterator[Picture]:
    hashes = pool.map(file_sha256, [sample.path for sample in samples])
    for sample, sha256 in zip(samples, hashes, strict=True):
        yield Picture(sample, sha256, bucket_of(sample.size, buckets))


def _read(sample: Sample, framing: Framing) -> Tensor:
    return read_pixels(sample.path, framing).pixels
