"""Fine-tuning's speed and memory against transformers' Trainer, TRL and bare loops, on the very same rows."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.llm_case import Case
from tests.benchmarks.llm_meter import WARMUP_STEPS
from tests.benchmarks.lockstep import Trained, largest_difference, run_in_turn
from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import PEERS, ROOT, Settings, result_of

OURS = ("recipe", "bare")
ARMS = (*OURS, "full_logits", "packed", "trl", "trl_autocast", "padded")
LLAMAFACTORY = ROOT / "build" / "benchmarks" / "llamafactory" / "bin" / "python"
"""The Python of an environment with LLaMA-Factory alone; without one it is left out."""
MOST_APART = 0.01
"""By how much, relatively, the losses of two programs may differ at any step."""
SMALL = ("25m", "60m")
"""Sizes whose targets are judged; those of larger ones are expectations."""
THREADS = psutil.cpu_count() or 1

QUICK = Case("25m", 512, steps=7)
SWEEP = (
    Case("25m", 256),
    Case("25m", 512),
    Case("25m", 1024, samples_per_step=8, steps=6),
    Case("25m", 2048, samples_per_step=8, steps=5),
    Case("25m", 512, vocab=131_072, samples_per_step=8, steps=6),
    Case("60m", 512, samples_per_step=8, steps=6),
    Case("60m", 1024, samples_per_step=8, steps=5),
    Case("300m", 512, samples_per_step=4, steps=4),
)
ON_GPU = (
    Case("300m", 2048, steps=20, device="cuda"),
    Case("7b", 1024, vocab=32_000, steps=12, device="cuda"),
    Case("7b", 2048, vocab=128_000, steps=12, device="cuda"),
)


@dataclass(frozen=True)
class Found:
    """What a program came to."""

    speeds: Sequence[float]
    """Useful tokens per second of each step after those to warm up."""
    losses: Mapping[int, float]
    peak_bytes: float


@dataclass(frozen=True)
class Wanted:
    """What a case must reach; None: an expectation that is measured, not judged."""

    trl_speed: float | None
    trl_memory: float | None
    full_memory: float | None


def measure(settings: Settings) -> list[Row]:
    """One small case for `make bench`, with TRL as it is fastest on the processor."""
    if settings.device == "cuda":
        return measure_case(settings, ON_GPU[0])
    return measure_case(settings, QUICK, arms=tuple(arm for arm in ARMS if arm != "trl_autocast"))


def measure_case(settings: Settings, given: Case, *, arms: Sequence[str] = ()) -> list[Row]:
    """The rows of a case, of all programs or of those that are named."""
    case = replace(given, threads=THREADS)
    folder = written(settings, case)
    programs = {arm: _program(settings, arm, folder) for arm in arms or _arms(case)}
    trained: dict[str, Trained] = {}
    for together in _together(case, programs):
        pythons = {arm: LLAMAFACTORY for arm in together if arm == "llamafactory"}
        trained |= run_in_turn({arm: programs[arm] for arm in together}, pythons=pythons)
    tokens = json.loads((folder / "case.json").read_text())["tokens"]
    found = {arm: _found(trained[arm], tokens) for arm in programs}
    for arm, its in found.items():
        settings.tell(f"{case}, {arm}: {median(its.speeds):.0f} tokens/s, {its.peak_bytes / 2**20:.0f} MiB")
    return _rows(case, found)


def _together(case: Case, arms: Iterable[str]) -> list[list[str]]:
    """Programs train in turn; a device has no room for all of them: there each has it to itself."""
    return [list(arms)] if case.device == "cpu" else [[arm] for arm in arms]


def _found(trained: Trained, tokens: Sequence[int]) -> Found:
    of_steps = tokens
    if own := trained.noted.get("tokens_per_step"):
        of_steps = [round(own)] * len(trained.seconds)
    pairs = list(zip(of_steps, trained.seconds, strict=True))[WARMUP_STEPS:]
    return Found([count / seconds for count, seconds in pairs], trained.losses, trained.noted["peak_bytes"])


def _arms(case: Case) -> Sequence[str]:
    """Padding wastes the more the longer the rows are: it is measured where it is not too slow."""
    padded = case.max_length == 512 and case.size in SMALL and case.vocab <= 32_768
    return ARMS if padded else tuple(arm for arm in ARMS if arm != "padded")


def with_llamafactory(case: Case) -> Sequence[str]:
    """All programs, with LLaMA-Factory where its environment was made."""
    return (*_arms(case), "llamafactory") if LLAMAFACTORY.exists() else _arms(case)


def written(settings: Settings, case: Case) -> Path:
    """The folder of a case; made where there is none."""
    made_by = (ROOT / "tests" / "benchmarks" / "llm_case.py").read_bytes()
    identity = hashlib.sha256(made_by + json.dumps(asdict(case)).encode()).hexdigest()[:12]
    folder = settings.data / f"llm-{case.size}-{case.max_length}-{identity}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        result_of(["-m", "tests.benchmarks.llm_case", partial, json.dumps(asdict(case))])
        partial.rename(folder)
    return folder


def _program(settings: Settings, arm: str, folder: Path) -> list[object]:
    output = settings.scratch / f"{folder.name}-{arm}"
    if arm == "llamafactory":
        return [PEERS / "llamafactory_llm.py", folder, output]
    if arm in OURS:
        return ["-m", "tests.benchmarks.llm_recipe", arm, folder, output]
    return [PEERS / "transformers_llm.py", arm, folder, output]


def _wanted(case: Case) -> Wanted:
    small = case.size in SMALL
    long = case.max_length >= 1024 or case.vocab >= 128_000
    full_memory = 0.7 if long else 0.85 if case.max_length >= 512 else None
    if case.size == "300m":
        return Wanted(trl_speed=1.1, trl_memory=None, full_memory=None)
    return Wanted(
        trl_speed=1.3 if small else None,
        trl_memory=0.7 if small else None,
        # An expectation from 1024 tokens or a vocabulary of 128 k on.
        full_memory=None if long else full_memory,
    )


def _rows(case: Case, found: Mapping[str, Found]) -> list[Row]:
    wanted = _wanted(case)
    tried = [arm for arm in ("trl", "trl_autocast") if arm in found]
    trl = max(tried, key=lambda arm: median(found[arm].speeds), default="trl")
    speeds = (
        ("padded", "Trainer, padded, defaults", 2.5),
        (
            trl,
            f"TRL, packed ({'bf16 autocast' if trl == 'trl_autocast' else 'bf16 weights'})",
            wanted.trl_speed,
        ),
        ("packed", "Trainer, packed, full logits", 1.1),
        ("bare", "bare loop", 0.95),
    )
    rows = [_speed(case, found, arm, name, target) for arm, name, target in speeds if arm in found]
    if "llamafactory" in found:
        rows.append(_beside_llamafactory(case, found))
    memories = (
        (trl, "TRL", wanted.trl_memory),
        ("full_logits", "loop with full logits", wanted.full_memory),
    )
    return rows + [_memory(case, found, arm, name, target) for arm, name, target in memories if arm in found]


def _speed(case: Case, found: Mapping[str, Found], arm: str, name: str, target: float | None) -> Row:
    ours, other = (found[each].speeds for each in ("recipe", arm))
    apart = largest_difference(found["recipe"].losses, found[arm].losses)
    return Row(
        name=f"LoRA, {case}, vs {name}",
        unit="useful tokens/s",
        ours=median(ours),
        limit=median(other) if arm == "bare" else None,
        peer=None if arm == "bare" else median(other),
        ratio=paired_ratio(ours, other),
        target=Target("ratio", ">=", target) if target else None,
        guard=f"same rows, order, rate and steps; losses at most {apart:.2%} apart",
        guard_held=apart <= MOST_APART,
    )


def _beside_llamafactory(case: Case, found: Mapping[str, Found]) -> Row:
    ours, other = (median(found[each].speeds) for each in ("recipe", "llamafactory"))
    return Row(
        name=f"LoRA, {case}, vs LLaMA-Factory, packed",
        unit="useful tokens/s",
        ours=ours,
        peer=other,
        ratio=ours / other,
        guard="as many samples of the same dataset, in its own packs: losses are not compared",
    )


def _memory(case: Case, found: Mapping[str, Found], arm: str, name: str, target: float | None) -> Row:
    ours, other = (found[each].peak_bytes for each in ("recipe", arm))
    return Row(
        name=f"LoRA, {case}, memory above the model vs {name}",
        unit="MiB",
        ours=ours / 2**20,
        peer=other / 2**20,
        ratio=ours / other,
        target=Target("ratio", "<=", target) if target else None,
        guard="peak of anonymous memory over the timed steps"
        if case.device == "cpu"
        else "peak on the device",
    )
