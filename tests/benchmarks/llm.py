"""Fine-tuning's speed and memory against transformers' Trainer, TRL and bare loops, on the very same rows."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.benchmarks.llm_case import Case
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

QUICK = (Case("25m", 512, steps=4),)
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

Found = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Wanted:
    """What a case must reach; None: an expectation that is measured, not judged."""

    trl_speed: float | None
    trl_memory: float | None
    full_memory: float | None


def measure(settings: Settings) -> list[Row]:
    """One small case for `make bench`, with TRL as it is fastest on the processor."""
    if settings.device == "cuda":
        return measure_cases(settings, ON_GPU[:1], repetitions=1)
    arms = tuple(arm for arm in ARMS if arm != "trl_autocast")
    return measure_cases(settings, QUICK, repetitions=1, arms=arms)


def measure_cases(
    settings: Settings, cases: Sequence[Case], *, repetitions: int, arms: Sequence[str] = ()
) -> list[Row]:
    """The rows of some cases, all programs in turn, or those that are named."""
    rows: list[Row] = []
    for case in cases:
        folder = written(settings, replace(case, threads=THREADS))
        found: Found = defaultdict(list)
        for number in range(settings.times(repetitions, 1)):
            for arm in arms or _arms(case):
                found[arm].append(_run(settings, arm, folder, number))
                newest = found[arm][-1]
                speed, memory = newest["tokens_per_second"], newest["peak_bytes"] / 2**20
                settings.tell(f"{case}, {arm}: {speed:.0f} tokens/s, {memory:.0f} MiB")
        rows += _rows(case, found)
    return rows


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


def _run(settings: Settings, arm: str, folder: Path, number: int) -> dict[str, Any]:
    output = settings.scratch / f"{folder.name}-{arm}-{number}"
    if arm == "llamafactory":
        return dict(result_of([PEERS / "llamafactory_llm.py", folder, output], python=LLAMAFACTORY))
    program = ["-m", "tests.benchmarks.llm_recipe"] if arm in OURS else [PEERS / "transformers_llm.py"]
    found: dict[str, Any] = result_of([*program, arm, folder, output])
    return found


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


def _rows(case: Case, found: Found) -> list[Row]:
    wanted = _wanted(case)
    tried = [arm for arm in ("trl", "trl_autocast") if arm in found]
    trl = max(tried, key=lambda arm: _median(found[arm], "tokens_per_second"))
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


def _speed(case: Case, found: Found, arm: str, name: str, target: float | None) -> Row:
    ours, other = (_all(found[each], "tokens_per_second") for each in ("recipe", arm))
    apart = _apart(found["recipe"], found[arm])
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


def _beside_llamafactory(case: Case, found: Found) -> Row:
    ours, other = (_all(found[each], "tokens_per_second") for each in ("recipe", "llamafactory"))
    return Row(
        name=f"LoRA, {case}, vs LLaMA-Factory, packed",
        unit="useful tokens/s",
        ours=median(ours),
        peer=median(other),
        ratio=paired_ratio(ours, other),
        guard="as many samples of the same dataset, in its own packs: losses are not compared",
    )


def _memory(case: Case, found: Found, arm: str, name: str, target: float | None) -> Row:
    ours, other = (_median(found[each], "peak_bytes") for each in ("recipe", arm))
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


def _apart(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> float:
    """The largest relative difference between two programs' losses of one step."""
    pairs = zip(ours[0]["losses"], others[0]["losses"], strict=True)
    return max(abs(one - other) / other for one, other in pairs)


def _all(found: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(each[name]) for each in found]


def _median(found: Sequence[Mapping[str, Any]], name: str) -> float:
    return median(_all(found, name))
