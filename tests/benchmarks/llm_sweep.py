"""The language-model benchmark over all sizes, lengths and vocabularies: some half an hour on two cores."""

from tests.benchmarks.llm import ON_GPU, SWEEP, measure_cases
from tests.benchmarks.rows import Row
from tests.benchmarks.settings import Settings


def measure(settings: Settings) -> list[Row]:
    """Each case, on the processor or, with `--device cuda`, those of an accelerator."""
    cases = ON_GPU if settings.device == "cuda" else SWEEP
    return measure_cases(settings, cases, repetitions=3)
