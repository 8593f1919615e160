"""A step's samples as tensors: what is random depends on the seed and the sample alone."""

import pytest
import torch

from tests.support.defects_images import encoded, picture
from tuneyard.diffusion.buckets import Bucket
from tuneyard.diffusion.draws import Draw
from tuneyard.diffusion.models import noise_process
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.pixels import Framing, frame, open_upright
from tuneyard.diffusion.samples import Sample
from tuneyard.diffusion.training_data import Feed, Picture, prepare_data

CPU = torch.device("cpu")
DRAWS = [Draw(0, position, 0) for position in range(3)]


@pytest.fixture
def feed(upload, configure, start, tiny_pipelines, tmp_path):
    pipeline, files = open_pipeline(tiny_pipelines("sd")), upload()

    def fed(**changes) -> Feed:
        config = configure(**changes)
        run = start(files, root=tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        data = prepare_data(config, run, pipeline, dtype=torch.float32, device=CPU)
        return Feed(data, config, noise_process(pipeline), device=CPU, threads=2)

    return fed


@pytest.mark.parametrize("size", [(72, 72), (128, 64), (301, 97), (50, 333)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_frame_told_is_that_of_the_pixels(tmp_path, size, flip) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture(1).resize(size)))
    sample = Sample(path=path, name="picture.png", caption="", repeats=1, is_class=False, size=size)
    framing = Framing(Bucket(128, 64), 0.3, 0.8, flip)
    seen = frame(open_upright(path), framing)
    told = Picture(sample, "0" * 64, framing.bucket).frame(framing)
    assert (told.original, told.crop, told.target) == (seen.original_size, seen.crop_top_left, (64, 128))


def test_a_sample_is_the_same_beside_whatever_others(feed) -> None:
    made = feed(horizontal_flip=0.5, noise_offset=0.1)
    together, alone = made.batch(DRAWS), made.batch(DRAWS[1:2])
    for name in ("latents", "noise", "times"):
        assert torch.equal(getattr(together, name)[1:2], getattr(alone, name))


def test_another_epoch_or_seed_is_another_draw(feed) -> None:
    made, other = feed(), feed(seed=1)
    first, again = made.batch(DRAWS), made.batch([draw._replace(epoch=1) for draw in DRAWS])
    assert not torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.batch(DRAWS).noise)


def test_images_read_ahead_are_those_read_at_once(feed) -> None:
    settings = {"cache_latents": False, "random_crop": True}
    ahead, plain = feed(**settings), feed(**settings)
    ahead.expect(DRAWS)
    assert torch.equal(ahead.batch(DRAWS).latents, plain.batch(DRAWS).latents)


def test_dropped_captions_are_empty(feed) -> None:
    assert feed(caption_dropout=1.0).batch(DRAWS).captions == ("", "", "")
    assert all(feed().batch(DRAWS).captions)
