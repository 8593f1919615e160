"""One case of the text-to-image benchmark: a base of random weights, captioned photographs, and everything
that is random about each step.

    python -m tests.benchmarks.diffusion_case FOLDER CASE_JSON

What is drawn at random is drawn by the recipe's own code; whoever is compared gets it ready made, with the
adapters' first weights. What is written once is used again by later runs.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from tests.support.shaped_diffusion import Shape, shaped_pipeline
from tuneyard.datasets import check
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.diffusion.draws import Draw, SampleOrder, generator
from tuneyard.diffusion.loras import add_loras
from tuneyard.diffusion.models import load_denoiser
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.training_data import Batch, Feed, prepare_data
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.trained_weights import adapter_state
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

RANK = 16
_HELD_OUT = 1
_WORDS = ("temple", "roof", "garden", "flower", "petal", "leaf", "lake", "sky")


@dataclass(frozen=True)
class Case:
    """What is trained, and how long."""

    shape: Shape
    resolution: int
    batch_size: int
    images: int = 8
    steps: int = 10
    steps_a_turn: int = 1
    """On an accelerator several: one alone would be measured with its queue empty."""
    device: str = "cpu"
    precision: str = "bf16"
    threads: int = 2
    checkpointing: bool = False

    def __str__(self) -> str:
        return f"{self.shape}, {self.resolution} px x {self.batch_size}"


def config_of(case: Case) -> TextToImageConfig:
    """LoRA with a constant rate; nothing but steps between the first and the last one that is measured."""
    return TextToImageConfig(
        base_model="models/benchmark",
        lora=Lora(r=RANK, alpha=RANK),
        resolution=case.resolution,
        epochs=None,
        # One more than are measured: a step is told before its loss.
        max_steps=case.steps + 1,
        batch_size=case.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=1e-4,
        schedule="constant",
        warmup_steps=0,
        precision=case.precision,  # type: ignore[arg-type]
        eval_steps=1_000_000,
        save_steps=1_000_000,
        sample_steps=1_000_000,
        gradient_checkpointing=case.checkpointing,
        validation_prompts=("a photograph of a temple",),
    )


def run_of(case: Case, folder: Path, root: Path, kind: type[FakeRun] = FakeRun, *, attempt: int = 1) -> Any:
    """A run on a written case; what an earlier one with the same root has computed is in its cache."""
    data = folder / "data"
    content = b"".join(path.read_bytes() for path in sorted(data.rglob("*.*")))
    return kind(
        root=root,
        training_files=DatasetFiles(
            data, hashlib.sha256(content).hexdigest(), check(data, format="captioned-images")
        ),
        base_model_files=folder / "base",
        device=case.device,
        cpu_threads=case.threads,
        attempt=attempt,
    )


def write(folder: Path, case: Case) -> None:
    """Writes everything into an empty folder."""
    torch.set_num_threads(case.threads)
    shaped_pipeline(folder / "base", case.shape)
    _photographs(folder / "data", case)
    config = config_of(case)
    run = run_of(case, folder, folder / "prepared")
    pipeline, device = open_pipeline(folder / "base"), torch.device(case.device)
    data = prepare_data(config, run, pipeline, dtype=torch.bfloat16, device=device)
    seed_everything(config.seed)
    denoiser = load_denoiser(pipeline, dtype=torch.bfloat16, device=device)
    adapted = add_loras(denoiser.part, denoiser.network, {}, config.lora)
    save_file(
        {name: value.cpu().contiguous() for name, value in adapter_state(adapted).items()},
        folder / "adapter.safetensors",
    )
    feed = Feed(data, config, denoiser.process, device=torch.device("cpu"), threads=1)
    order = SampleOrder(data.samples, samples_per_step=case.batch_size, seed=config.seed)
    tensors: dict[str, torch.Tensor] = {}
    steps: list[dict[str, Any]] = []
    for number in range(case.steps):
        draws = sorted(order.step(number), key=feed.bucket)
        batch = feed.batch(draws)
        tensors |= {f"{number}.{name}": value for name, value in _drawn(batch, draws, config.seed).items()}
        names = [data.train[draw.position].sample.name for draw in draws]
        steps.append({"images": names, "captions": batch.captions})
    save_file(tensors, folder / "steps.safetensors")
    facts = {**asdict(case), "rank": RANK, "learning_rate": config.learning_rate, "of_steps": steps}
    (folder / "case.json").write_text(json.dumps(facts))


def _drawn(batch: Batch, draws: Sequence[Draw], seed: int) -> dict[str, torch.Tensor]:
    """What is random about a step, and the latents that it comes to."""
    shape = batch.latents.shape[1:]
    of_latents = [torch.randn(shape, generator=generator(seed, draw, "latent")) for draw in draws]
    return {
        "latents": batch.latents,
        "latent_noise": torch.stack(of_latents),
        "noise": batch.noise,
        "times": batch.times,
    }


def _photographs(folder: Path, case: Case) -> None:
    """Parts of two photographs, as they are published: JPEGs, larger than they are trained at."""
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    side = case.resolution * 5 // 4
    for number in range(case.images + _HELD_OUT):
        source = sources[number % len(sources)]
        left, top = 13 * number % (source.width - 320), 11 * number % (source.height - 320)
        part = source.crop((left, top, left + 320 - number, top + 320 - number)).resize((side, side))
        path = folder / ("train" if number < case.images else "val") / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path, quality=92)
        path.with_suffix(".txt").write_text(f"a photograph of a {_WORDS[number % len(_WORDS)]}, {number}")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Case(**json.loads(sys.argv[2])))
    sys.stdout.write("{}\n")
