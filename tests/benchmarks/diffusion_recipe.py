"""Our side of the text-to-image benchmark, without the platform around it.

    python -m tests.benchmarks.diffusion_recipe ARM FOLDER ROOT

ARM: `recipe` is what a job runs; `bare` makes the same steps with the same network, optimizer and loss on
batches that lie ready in memory; `prepare` runs two jobs on the same data up to their first step.
"""

import json
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.utils import clip_grad_norm_

from tests.benchmarks.diffusion_case import Case, config_of, run_of
from tests.benchmarks.lockstep import Pace
from tests.benchmarks.paced_run import Enough, PacedRun
from tuneyard.diffusion import text_to_image_lora
from tuneyard.diffusion.denoiser import Frame, sample_losses
from tuneyard.diffusion.loras import add_loras, checkpoint_gradients
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.text_to_image_lora import weight_groups
from tuneyard.recipes.optimizers import make_optimizer
from tuneyard.recipes.trained_weights import load_adapter_state, trained_parameters
from tuneyard.trainer.fake_run import FakeRun


@dataclass(kw_only=True)
class HurriedRun(FakeRun):
    """Ends where the first step begins."""

    def fault(self, point: str) -> None:
        super().fault(point)
        if point == "step=1":
            raise Enough


def train(case: Case, folder: Path, root: Path, pace: Pace) -> None:
    """What a job runs."""
    run: PacedRun = run_of(case, folder, root, PacedRun)
    run.pace = pace
    try:
        text_to_image_lora.train(config_of(case), run)
    except Enough:
        pace.end(run.paced_losses)


def replay(case: Case, folder: Path, pace: Pace) -> None:
    """The bare loop."""
    torch.set_num_threads(case.threads)
    config, device = config_of(case), torch.device(case.device)
    pipeline = open_pipeline(folder / "base")
    facts, drawn = json.loads((folder / "case.json").read_text()), load_file(folder / "steps.safetensors")
    encoders = load_text(pipeline, dtype=torch.bfloat16, device=device)
    with torch.no_grad():
        texts = [encoders.encode(step["captions"]) for step in facts["of_steps"]]
    del encoders
    batches = [
        tuple(drawn[f"{number}.{name}"].to(device) for name in ("latents", "noise", "times"))
        for number in range(case.steps)
    ]
    side = (case.resolution, case.resolution)
    frames = [Frame((side[0] * 5 // 4, side[1] * 5 // 4), (0, 0), side)] * case.batch_size
    denoiser = load_denoiser(pipeline, dtype=torch.bfloat16, device=device)
    adapted = add_loras(denoiser.part, denoiser.network, {}, config.lora)
    load_adapter_state(adapted, load_file(folder / "adapter.safetensors", device=case.device))
    if config.gradient_checkpointing:
        checkpoint_gradients(adapted)
    optimizer = make_optimizer(weight_groups(adapted, config), config, device)
    trained, losses = trained_parameters(adapted), []
    pace.begin()
    for (latents, noise, times), text in zip(batches, texts, strict=True):
        loss = sample_losses(denoiser, latents, noise, times, text=text, frames=frames).mean()
        torch.autograd.backward(loss)
        clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        pace.step_done()
    pace.end({number: loss.item() for number, loss in enumerate(losses, start=1)})


def prepare(case: Case, folder: Path, root: Path) -> None:
    """Prints how long each of two jobs took to its first step."""
    seconds = []
    for attempt in (1, 2):
        run = run_of(case, folder, root, HurriedRun, attempt=attempt)
        began = time.perf_counter()
        try:
            text_to_image_lora.train(config_of(case), run)
        except Enough:
            seconds.append(time.perf_counter() - began)
        stages = {each["name"]: round(each["elapsed"], 2) for each in run.all_of("stage") if each["done"]}
        sys.stderr.write(f"{stages}\n")
    sys.stdout.write(json.dumps(seconds) + "\n")


def main(arm: str, folder: Path, root: Path) -> None:
    facts = json.loads((folder / "case.json").read_text())
    case = Case(**{name: facts[name] for name in (each.name for each in fields(Case))})
    if arm == "prepare":
        prepare(case, folder, root)
        return
    pace = Pace(steps=case.steps, steps_a_turn=case.steps_a_turn, device=case.device)
    if arm == "recipe":
        train(case, folder, root, pace)
    else:
        replay(case, folder, pace)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
