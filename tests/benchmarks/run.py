"""`make bench`: measures, prints a table and writes build/bench.json.

python tests/benchmarks/run.py [--only NAME …] [--quick] [--device cpu|cuda]
"""

import argparse
import importlib
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console

from tests.benchmarks.noise import NOTICEABLE, Noise
from tests.benchmarks.rows import Row, failed, print_table, write_json
from tests.benchmarks.settings import ROOT, Settings

BENCHMARKS = (
    "gateway",
    "fan_out",
    "events",
    "transfers",
    "edge",
    "inspection",
    "first_step",
    "overhead",
    "classifier",
    "detector",
    "llm",
)
ON_ONE_PLATFORM = ("first_step", "overhead", "classifier", "detector", "detector_quality")
"""These train images on the same platform, which is stopped before any other is measured."""
AT_LENGTH = ("inspection_sweep", "detector_quality", "llm_sweep", "diffusion", "diffusion_sweep", "ui")
"""Run only where they are named: they take many minutes, or need a browser."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measures Tuneyard, prints a table, writes build/bench.json."
    )
    parser.add_argument(
        "--only", action="append", choices=(*BENCHMARKS, *AT_LENGTH), help="may be given several times"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions: shows that it runs, judges nothing"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()

    console = Console() if sys.stdout.isatty() else Console(width=180)
    rows: list[Row] = []
    data = ROOT / "build" / "benchmarks"
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tuneyard-bench-") as scratch:
        settings = Settings(Path(scratch), data, console, quick=options.quick, device=options.device)
        with closing(settings.kept):
            for name in options.only or BENCHMARKS:
                started = time.monotonic()
                console.print(f"[bold]{name}")
                if name not in ON_ONE_PLATFORM:
                    settings.kept.close()
                rows += measured(name, settings)
                settings.tell(f"{time.monotonic() - started:.0f} s")
                write_json(rows, options.output)
    print_table(rows, console)
    console.print(f"Written to {options.output}")
    return 0 if all(row.ok for row in rows) or options.quick else 1


def measured(name: str, settings: Settings) -> list[Row]:
    """A benchmark's rows; one that says so where it came to none, so that the others are still measured."""
    module = importlib.import_module(f"tests.benchmarks.{name}")
    noise = Noise()
    try:
        rows: list[Row] = module.measure(settings)
    except Exception as error:
        settings.console.print_exception()
        return [failed(name, f"{type(error).__name__}: {error}".splitlines()[0])]
    if (share := noise.share) > NOTICEABLE:
        disturbed = f"DISTURBED: other programs took {share:.0%} of the cores"
        return [replace(row, guard=f"{row.guard}; {disturbed}") for row in rows]
    return rows


if __name__ == "__main__":
    sys.exit(main())
