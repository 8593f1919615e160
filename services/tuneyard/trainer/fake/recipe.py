"""The fake recipe: a random walk that learns nothing, with everything around it as in a real one.

Each sample's gradient is added on its own and in order, so that the sum is the same to the last bit however
the batch is cut. The checkpoint holds all that a next number depends on: weights, random state, sample
order, position.
"""

import json
import os
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake.script import Script
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import AdviceKind, ArtifactKind, Result, Run

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
WATCHED = "eval/accuracy_top1"


@dataclass(frozen=True, kw_only=True)
class FakeConfig:
    """The settings of a fake run, as resolved before the job."""

    script: Script
    steps: int
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 0.05
    save_steps: int = 0
    eval_steps: int = 0
    seed: int = 0


@dataclass
class State:
    """Everything that the next step depends on."""

    weights: Array
    random: np.random.Generator
    order: Indices
    position: int = 0
    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    best: float = float("-inf")
    best_step: int = 0

    @classmethod
    def fresh(cls, config: FakeConfig) -> "State":
        random = np.random.default_rng(config.seed)
        weights = random.standard_normal(config.script.size)
        return cls(weights=weights, random=random, order=random.permutation(config.script.samples))

    def write(self, folder: Path) -> None:
        """Puts the state into files that hold no code."""
        np.save(folder / "weights.npy", self.weights, allow_pickle=False)
        np.save(folder / "order.npy", self.order, allow_pickle=False)
        np.save(folder / "losses.npy", np.array(self.losses), allow_pickle=False)
        numbers = {
            "random": self.random.bit_generator.state,
            "position": self.position,
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best if self.best_step else None,
            "best_step": self.best_step,
        }
        (folder / "state.json").write_text(json.dumps(numbers))

    @classmethod
    def read(cls, folder: Path) -> "State":
        """The state that `write` wrote."""
        numbers = json.loads((folder / "state.json").read_text())
        random = np.random.default_rng()
        random.bit_generator.state = numbers["random"]
        return cls(
            weights=np.load(folder / "weights.npy", allow_pickle=False),
            random=random,
            order=np.load(folder / "order.npy", allow_pickle=False),
            position=numbers["position"],
            epoch=numbers["epoch"],
            step=numbers["step"],
            losses=np.load(folder / "losses.npy", allow_pickle=False).tolist(),
            best=float("-inf") if numbers["best"] is None else numbers["best"],
            best_step=numbers["best_step"],
        )


def train(config: FakeConfig, run: Run) -> Result:
    """Follows the script from the checkpoint, if there is one, to the result."""
    script = config.script
    with run.stage("prepare_data"):
        _prepare(script, run)
    checkpoint = run.checkpoint()
    state = State.read(checkpoint.dir) if checkpoint else State.fresh(config)
    micro = MicroBatching(
        run,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
    )
    oom_steps = {script.oom_at} if script.oom_at else set[int]()
    _report(config, run, state, samples=0)
    with run.stage("train"):
        while state.step < config.steps:
            step = state.step + 1
            run.fault(f"step={step}")
            _follow_script(script, run, step)
            samples = _next_samples(config, state)
            gradient = _gradient(script, state, samples, micro, oom_steps=oom_steps)
            optimizer_step(partial(_update, config, run, state, gradient, len(samples)))
            if step > script.hurry:
                time.sleep(script.step_ms / 1000)
            _report(config, run, state, samples=len(samples))
            is_best = _is_due(config.eval_steps, step) and _evaluate(config, run, state)
            stop = run.stop_requested()
            if stop is Stop.CANCEL and not script.ignore_cancel:
                raise Stopped(stop, step)
            if _is_due(config.save_steps, step) or is_best or stop is Stop.PAUSE:
                _save(config, run, state, best=is_best, wait=stop is Stop.PAUSE)
            if stop is Stop.PAUSE:
                raise Stopped(stop, step)
    run.finalizing()
    run.fault("finalize")
    time.sleep(script.finalize_ms / 1000)
    with run.stage("save_model"):
        _save_artifacts(script, run, state)
    final = {"train/loss": state.losses[-1]} if state.losses else {}
    if state.best_step:
        final[WATCHED] = state.best
    return Result(metrics=final, step=state.step, best_step=state.best_step, summary="Followed the script.")


def _prepare(script: Script, run: Run) -> None:
    run.fault("prepare")
    if script.dataset:
        run.dataset()
    end = time.monotonic() + script.prepare_ms / 1000
    while time.monotonic() < end:
        run.check_stop()
        time.sleep(0.01)
    run.check_stop()


def _follow_script(script: Script, run: Run, step: int) -> None:
    """What the script wants to go wrong, or to be said, at this step."""
    if step == script.crash_at and run.attempt <= script.crash_attempts:
        os.kill(os.getpid(), signal.SIGKILL)
    if step == script.fail_at:
        raise RecipeError("The script says to fail.", remedies=("Take fail_at out of the script.",))
    if step == script.raise_at:
        raise ValueError("cannot read /srv/models/weights.bin: scripted")
    if step == script.hang_at:
        _hang()
    for line in range(script.log):
        run.log(f"step {step}, line {line}")
    if step == script.advise_at:
        run.warn("scripted", "The script says to warn.")
        run.advise(
            AdviceKind.NOT_DECREASING,
            observation=f"The loss did not fall in {step} steps.",
            remedies=("Raise the learning rate.",),
            changes={"hyperparameters.learning_rate": 0.1},
        )
    if script.sample and step % script.sample == 0:
        run.sample_text(title=f"Step {step}", step=step, prompt="What is next?", tuned=f"Step {step + 1}.")
        if step == script.sample:
            picture = run.work_dir / "sample.png"
            Image.new("RGB", (8, 8), (step % 256, 64, 128)).save(picture)
            run.sample_image(picture, title="A picture", step=step, name=f"samples/step-{step}.png")


def _hang() -> NoReturn:
    while True:
        time.sleep(1)


def _next_samples(config: FakeConfig, state: State) -> Indices:
    """The samples of the next step; a new order begins where the old one is used up."""
    if state.position >= len(state.order):
        state.order = state.random.permutation(config.script.samples)
        state.position = 0
        state.epoch += 1
    size = config.batch_size * config.gradient_accumulation_steps
    samples = state.order[state.position : state.position + size]
    state.position += len(samples)
    return samples


def _gradient(
    script: Script, state: State, samples: Indices, micro: MicroBatching, *, oom_steps: set[int]
) -> Array:
    """The sum of the samples' gradients; memory runs out at `oom_steps`, once each, and where the script
    says.
    """
    gradient, step = np.zeros_like(state.weights), state.step + 1

    def work(piece: Indices, weight: float) -> None:
        del weight
        for sample in piece:
            noise = state.random.standard_normal(script.size)
            np.add(gradient, state.weights - (sample % 7) / 7 + 0.1 * noise, out=gradient)
        if step in oom_steps or 0 < script.oom_above < len(piece):
            oom_steps.discard(step)
            raise MemoryError("scripted")

    def restore(random: Any) -> None:
        state.random.bit_generator.state = random
        gradient.fill(0)

    micro.run_step(step, samples, work, snapshot=lambda: state.random.bit_generator.state, restore=restore)
    return gradient


def _is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _update(config: FakeConfig, run: Run, state: State, gradient: Array, count: int) -> None:
    if state.step + 1 == config.script.optimizer_oom_at and run.attempt == 1:
        raise MemoryError("scripted")
    state.weights -= config.learning_rate * gradient / count
    state.step += 1
    state.losses.append(float(np.mean(state.weights**2)))


def _report(config: FakeConfig, run: Run, state: State, *, samples: int) -> None:
    if samples:
        values = {"train/loss": state.losses[-1], "train/learning_rate": config.learning_rate}
        if config.script.probe:
            values["probe/step"] = float(state.step)
        run.metrics(step=state.step, epoch=_epoch(state), values=values)
    per_epoch = config.batch_size * config.gradient_accumulation_steps / config.script.samples
    run.progress(
        step=state.step,
        total_steps=config.steps,
        epoch=_epoch(state),
        total_epochs=config.steps * per_epoch,
        unit="samples",
        count=samples,
    )


def _epoch(state: State) -> float:
    return state.epoch + state.position / len(state.order)


def _evaluate(config: FakeConfig, run: Run, state: State) -> bool:
    """Reports the evaluation and returns whether it is the best so far."""
    run.fault("evaluate")
    loss = float(np.mean(np.abs(state.weights)))
    accuracy = 1 / (1 + loss)
    run.metrics(step=state.step, epoch=_epoch(state), values={"eval/loss": loss, WATCHED: accuracy})
    if accuracy <= state.best:
        return False
    state.best, state.best_step = accuracy, state.step
    return True


def _save(config: FakeConfig, run: Run, state: State, *, best: bool, wait: bool) -> None:
    run.fault("save_checkpoint")

    def write(folder: Path) -> None:
        state.write(folder)
        time.sleep(config.script.save_ms / 1000)
        if config.script.checkpoint_bytes:
            (folder / "padding.bin").write_bytes(bytes(config.script.checkpoint_bytes))

    metrics = {"train/loss": state.losses[-1]}
    run.save_checkpoint(
        step=state.step, epoch=_epoch(state), write=write, metrics=metrics, best=best, wait=wait
    )


def _save_artifacts(script: Script, run: Run, state: State) -> None:
    weights, losses, manifest = (run.work_dir / n for n in ("weights.npy", "losses.json", "manifest.json"))
    np.save(weights, state.weights, allow_pickle=False)
    losses.write_text(json.dumps(state.losses))
    manifest.write_text(json.dumps(run.manifest(metrics={"train/loss": state.losses[-1:]}), indent=2))
    binary, text = "application/octet-stream", "application/json"
    run.save_artifact(weights, name=weights.name, kind=ArtifactKind.MODEL, media_type=binary)
    run.save_artifact(losses, name=losses.name, kind=ArtifactKind.METRICS, media_type=text)
    if script.artifact_bytes:
        extra = run.work_dir / "extra.bin"
        extra.write_bytes(bytes(script.artifact_bytes))
        run.save_artifact(extra, name=extra.name, kind=ArtifactKind.OTHER, media_type=binary)
    run.save_artifact(manifest, name=manifest.name, kind=ArtifactKind.MANIFEST, media_type=text)
