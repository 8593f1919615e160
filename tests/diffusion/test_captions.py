"""Captions in tokens, dropped captions, and prompts for sample images."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tuneyard.diffusion.captions import (
    CutCaption,
    is_dropped,
    measure_captions,
    sample_prompts,
    tell_of_captions,
    token_limit,
)
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.samples import Sample, Splits
from tuneyard.trainer.fake_run import FakeRun


class Words:
    """Counts words as transformers' tokenizers count tokens."""

    def __init__(self, limit: int) -> None:
        self.model_max_length = limit

    def __call__(self, text: str, *, truncation: bool, verbose: bool) -> dict[str, Any]:
        assert not truncation
        return {"input_ids": ["<s>", *text.split(), "</s>"]}


def samples(*captions: str) -> tuple[Sample, ...]:
    return tuple(Sample(Path("x"), f"{n}.png", text, 1, False, (8, 8)) for n, text in enumerate(captions))


def splits(*captions: str, held_out: tuple[str, ...] = ("held out",)) -> Splits:
    return Splits(samples(*captions), (), samples(*held_out), "", "", divided=True)


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(root=tmp_path)


def test_every_caption_is_counted() -> None:
    counted = samples("a b c d", "a b", "a b", "", "a b c")
    report = measure_captions(counted, lambda text: len(text.split()) + 2, limit_tokens=4)
    assert (report.captions, report.different, report.empty, report.longest_tokens) == (5, 4, 1, 6)
    assert report.mean_tokens == 4.2
    assert report.cut == (CutCaption("0.png", 6), CutCaption("4.png", 5))


def test_captions_that_a_text_encoder_cuts_are_told_and_stored(run: FakeRun) -> None:
    tokenizers = {"tokenizer": Words(4), "tokenizer_2": Words(64)}
    tell_of_captions(splits("a b c d", "a"), tokenizers, run)
    (warning,) = run.all_of("warning")
    assert warning["code"] == "captions_cut" and "1 of 3 captions" in warning["message"]
    stored = json.loads(run.artifacts["caption-report.json"].path.read_text())
    assert stored["tokenizer"]["cut"] == [{"name": "0.png", "tokens": 6}]
    assert stored["tokenizer_2"]["cut"] == []


def test_captions_that_fit_give_no_warning(run: FakeRun) -> None:
    tell_of_captions(splits("a b", "a"), {"tokenizer": Words(77)}, run)
    assert not run.all_of("warning")


@pytest.mark.parametrize(("named", "limit"), [(77, 77), (256, 256), (int(1e30), 77)])
def test_a_tokenizer_without_a_limit_has_clips(named: int, limit: int) -> None:
    assert token_limit(Words(named)) == limit


def test_captions_are_dropped_as_often_as_asked() -> None:
    draws = torch.Generator().manual_seed(0)
    assert sum(is_dropped(0.1, generator=draws) for _ in range(1000)) == pytest.approx(100, abs=30)
    assert not any(is_dropped(0.0, generator=draws) for _ in range(100))
    assert all(is_dropped(1.0, generator=draws) for _ in range(100))


def test_prompts_are_the_users_or_held_out_captions() -> None:
    given = TextToImageConfig(base_model="m", validation_prompts=("a", "b", "c", "d", "e"))
    assert sample_prompts(given, splits("x")) == ("a", "b", "c", "d")
    plain, held_out = TextToImageConfig(base_model="m"), ("a", "b", "a", "", "c", "d", "e")
    prompts = sample_prompts(plain, splits("x", held_out=held_out))
    assert len(prompts) == len(set(prompts)) == 4 and set(prompts) < set(held_out)
    assert prompts == sample_prompts(plain, splits("x", held_out=held_out[::-1]))


def test_without_held_out_captions_prompts_are_the_instance_prompt() -> None:
    prompted = TextToImageConfig(base_model="m", instance_prompt="a sks dog")
    assert sample_prompts(prompted, splits("x", held_out=("",))) == ("a sks dog",)
