"""A text-to-image LoRA's speed against diffusers' own recipe and bare steps, on the very same draws."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.diffusion_case import Case
from tests.benchmarks.lockstep import Trained, largest_difference, run_in_turn
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import PEERS, ROOT, Settings, result_of

MOST_APART = 0.02
"""By how much, relatively, the losses of two programs may differ at any step: the peer's VAE is in bf16."""
WARMUP_TURNS = 2
THREADS = psutil.cpu_count() or 1

IN_BENCH = (Case("half-sd15", 256, 2, steps=6),)
"""A minute and a half, for a first look: with layers of half the width, attention weighs more than in the
published shape, and the VAE less."""
AT_LENGTH = (Case("sd15", 512, 1, steps=8), Case("sd15", 256, 2))
ON_GPU = (
    Case("sd15", 512, 4, images=32, steps=100, steps_a_turn=20, device="cuda"),
    Case("sd15", 256, 8, images=32, steps=100, steps_a_turn=20, device="cuda"),
)
ON_GPU_AT_LENGTH = (
    *ON_GPU,
    Case("sdxl", 1024, 1, images=32, steps=60, steps_a_turn=10, device="cuda", checkpointing=True),
    Case("sdxl", 512, 4, images=32, steps=60, steps_a_turn=10, device="cuda"),
)
_PEERS = (
    ("diffusers", "diffusers' recipe"),
    ("cached", "the same loop with latents cached plainly"),
    ("bare", "bare UNet steps"),
)


def measure(settings: Settings) -> list[Row]:
    """One case; on an accelerator two, and how long a second job prepares."""
    if settings.device == "cuda":
        return [*measure_cases(settings, ON_GPU), prepared(settings, ON_GPU[0])]
    return measure_cases(settings, IN_BENCH)


def measure_cases(settings: Settings, cases: Sequence[Case]) -> list[Row]:
    """The rows of some cases, all programs in turn."""
    rows: list[Row] = []
    for given in cases:
        case = replace(given, threads=THREADS)
        folder = written(settings, case)
        root = settings.scratch / folder.name
        arms = ("recipe", *(name for name, _ in _PEERS))
        found = run_in_turn({arm: _program(arm, folder, root) for arm in arms})
        for arm, trained in found.items():
            settings.tell(f"{case}, {arm}: {_speed(case, trained):.3g} images/s")
        rows += [_row(case, found, arm, name) for arm, name in _PEERS]
    return rows


def prepared(settings: Settings, given: Case) -> Row:
    """How long two jobs on the same data take to their first step."""
    case = replace(given, threads=THREADS)
    folder = written(settings, case)
    first, second = result_of(_program("prepare", folder, settings.scratch / "prepare"))
    return Row(
        name=f"second job's first step vs the first job's preparation, {case}, {case.images} images",
        unit="s",
        ours=second,
        peer=first,
        ratio=second / first,
        target=Target("ratio", "<=", 0.1),
        guard="one process, imports left out; latents, texts and the base's loss from the cache",
    )


def written(settings: Settings, case: Case) -> Path:
    """The folder of a case; made where there is none."""
    made_by = (ROOT / "tests" / "benchmarks" / "diffusion_case.py").read_bytes()
    made_by += (ROOT / "tests" / "support" / "shaped_diffusion.py").read_bytes()
    identity = hashlib.sha256(made_by + json.dumps(asdict(case)).encode()).hexdigest()[:12]
    folder = settings.data / f"diffusion-{case.shape}-{case.resolution}-{identity}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        result_of(["-m", "tests.benchmarks.diffusion_case", partial, json.dumps(asdict(case))])
        partial.rename(folder)
    return folder


def _program(arm: str, folder: Path, root: Path) -> list[object]:
    if arm in ("diffusers", "cached"):
        return [PEERS / "diffusers_lora.py", arm, folder]
    return ["-m", "tests.benchmarks.diffusion_recipe", arm, folder, root]


def _row(case: Case, found: Mapping[str, Trained], arm: str, name: str) -> Row:
    ours, other = (_speeds(case, found[each]) for each in ("recipe", arm))
    apart = largest_difference(found["recipe"].losses, found[arm].losses)
    against_recipe = 1.4 if case.resolution >= 512 else 1.25
    target = {"diffusers": against_recipe, "cached": 0.98, "bare": 0.97}[arm]
    return Row(
        name=f"text-to-image LoRA, {case}, vs {name}",
        unit="images/s",
        ours=median(ours),
        limit=median(other) if arm == "bare" else None,
        peer=None if arm == "bare" else median(other),
        ratio=paired_ratio(ours, other),
        target=Target("ratio", ">=", target),
        guard=f"same images, noise, times, first weights; losses at most {apart:.2%} apart",
        guard_held=apart <= MOST_APART,
    )


def _speeds(case: Case, trained: Trained) -> list[float]:
    images = case.batch_size * case.steps_a_turn
    return [images / seconds for seconds in trained.seconds[WARMUP_TURNS:]]


def _speed(case: Case, trained: Trained) -> float:
    return median(_speeds(case, trained))
