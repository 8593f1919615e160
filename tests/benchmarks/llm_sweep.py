"""The language-model benchmark over all sizes, lengths and vocabularies: some twenty minutes on two cores.

`python -m tests.benchmarks.llm_sweep WORD … [--arm recipe --arm trl …]` measures only the cases whose names
hold one of the words, such as "25m, 1024", and prints a table for each; `--arm` names the programs.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from tests.benchmarks.llm import ON_GPU, SWEEP, measure_case, with_llamafactory
from tests.benchmarks.rows import Row, print_table, write_json
from tests.benchmarks.settings import ROOT, Settings


def measure(settings: Settings) -> list[Row]:
    """Each case, on the processor or, with `--device cuda`, those of an accelerator."""
    rows: list[Row] = []
    for case in ON_GPU if settings.device == "cuda" else SWEEP:
        rows += measure_case(settings, case, arms=with_llamafactory(case))
    return rows


def main() -> None:
    """Measures some cases of the processor."""
    parser = argparse.ArgumentParser(description="Measures some cases of LoRA fine-tunings.")
    parser.add_argument("words", nargs="+", metavar="WORD")
    parser.add_argument(
        "--arm", action="append", default=[], help="only these programs, the recipe among them"
    )
    options = parser.parse_args()
    console, data = Console(width=180), ROOT / "build" / "benchmarks"
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tuneyard-bench-") as scratch:
        settings = Settings(Path(scratch), data, console)
        for case in SWEEP:
            if any(word in str(case) for word in options.words):
                arms = options.arm or with_llamafactory(case)
                rows = measure_case(settings, case, arms=arms)
                print_table(rows, console)
                write_json(rows, ROOT / "build" / f"bench-llm {case}.json")


if __name__ == "__main__":
    main()
