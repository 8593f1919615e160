"""What a LoRA is for: one that is trained on a style makes the model know that style, and no other."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.defects_images import encoded
from tests.support.pretrained_diffusion import CAPTION, SIDE, STYLES, drawn, pretrained_sd
from tuneyard.datasets import check
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.diffusion.denoiser import sample_losses
from tuneyard.diffusion.evaluate import evaluate
from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
CONFIG = TextToImageConfig(
    base_model="models/seen",
    lora=Lora(r=16, alpha=16, target_modules=("all-linear",)),
    resolution=SIDE,
    epochs=30,
    batch_size=8,
    gradient_accumulation_steps=1,
    learning_rate=3e-3,
    eval_steps=45,
    sample_steps=1000,
    precision="fp32",
    validation_prompts=(CAPTION,),
)
Falls = dict[str, float]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained_sd(tmp_path_factory.mktemp("seen"))


@pytest.fixture
def falls(base: Path, tmp_path: Path) -> Callable[..., Falls]:
    """By how much the loss of each style falls, relatively, when one of them is trained on."""

    def data(style: str) -> DatasetFiles:
        root = tmp_path / style
        for split, seeds in (("train", range(24)), ("val", range(100, 108))):
            (root / split).mkdir(parents=True, exist_ok=True)
            for seed in seeds:
                (root / split / f"{seed}.png").write_bytes(encoded(drawn(style, seed)))
                (root / split / f"{seed}.txt").write_text(CAPTION)
        return DatasetFiles(root, (style[0] * 64), check(root, format="captioned-images"))

    def measured(trained: str) -> Falls:
        run = FakeRun(
            root=tmp_path / "run", training_files=data(trained), base_model_files=base, cpu_threads=1
        )
        train(CONFIG, run)
        found = {}
        for number, style in enumerate(STYLES):
            looked = FakeRun(
                root=tmp_path / f"look-{number}",
                training_files=data(style),
                base_model_files=base,
                source_files=run.root / "artifacts",
                cpu_threads=1,
            )
            asked = EvaluateConfig(
                source_job="jobs/1", dataset=f"datasets/{style}", split="val", is_own_dataset=style == trained
            )
            loss = evaluate(asked, CONFIG, looked).metrics
            found[style] = 1 - loss["eval/loss"] / loss["base/loss"]
        return found

    return measured


def knows_the_style(falls: Falls, trained: str) -> bool:
    (other,) = set(falls) - {trained}
    return falls[trained] > 0.05 and falls[trained] > 2 * falls[other]


@pytest.mark.parametrize("trained", STYLES)
def test_a_style_that_is_trained_on_is_known_better_and_another_is_not(falls, trained: str) -> None:
    assert knows_the_style(falls(trained), trained)


def test_adapters_that_are_never_changed_know_no_style(falls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.optim.AdamW.step", lambda *_, **__: None)
    assert not knows_the_style(falls("striped"), "striped")


def test_adapters_that_are_not_shown_the_pictures_know_no_style(falls, monkeypatch) -> None:
    monkeypatch.setattr(
        "tuneyard.diffusion.training.sample_losses",
        lambda denoiser, latents, *given, **named: sample_losses(
            denoiser, torch.randn_like(latents), *given, **named
        ),
    )
    assert not knows_the_style(falls("striped"), "striped")
