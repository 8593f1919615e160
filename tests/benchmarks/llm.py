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

OURS = ("recipe", "bare", "full_logits")
ARMS = (*OURS, "padded", "packed", "trl", "trl_autocast")
MOST_APART = 0.01
"""By how much, relatively, the losses of two programs may differ at any step."""
THREADS = psutil.cpu_count() or 1

QUICK = (Case("25m", 512),)
SWEEP = (
    *(Case("25m", length) for length in (256, 512, 1024, 2048)),
    Case("25m", 512, vocab=131_072),
    Case("60m", 512),
    Case("60m", 1024),
    Case("300m", 512, steps=5),
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
    """One small case for `make bench`."""
    return measure_cases(settings, ON_GPU[:1] if settings.device == "cuda" else QUICK, repetitions=1)


def measure_cases(settings: Settings, cases: Sequence[Case], *, repetitions: int) -> list[Row]:
    """The rows of some cases, all programs in turn."""
    rows: list[Row] = []
    for case in cases:
        threaded = replace(case, threads=THREADS)
        folder = written(settings, threaded)
        found: Found = defaultdict(list)
        for number in range(settings.times(repetitions, 1)):
            for arm in ARMS:
                found[arm].append(_run(settings, arm, folder, number))
                settings.tell(f"{case}, {arm}: {found[arm][-1]['tokens_per_second']:.0f} tokens/s")
        rows += _rows(case, found)
    return rows


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
    program = ["-m", "tests.benchmarks.llm_recipe"] if arm in OURS else [PEERS / "transformers_llm.py"]
    found: dict[str, Any] = result_of([*program, arm, folder, output])
    return found


def _wanted(case: Case) -> Wanted:
    small = case.size in ("25m", "60m")
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
    trl = max(("trl", "trl_autocast"), key=lambda arm: _median(found[arm], "tokens_per_second"))
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
    rows = [_speed(case, found, arm, name, target) for arm, name, target in speeds]
    memories = (
        (trl, "TRL", wanted.trl_memory),
        ("full_logits", "loop with full logits", wanted.full_memory),
    )
    return rows + [_memory(case, found, arm, name, target) for arm, name, target in memories]


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
