"""The text-to-image benchmark in the published shapes: fourteen minutes on two cores, in 16 GB of memory."""

from tests.benchmarks.diffusion import AT_LENGTH, ON_GPU_AT_LENGTH, measure_cases, prepared
from tests.benchmarks.rows import Row
from tests.benchmarks.settings import Settings


def measure(settings: Settings) -> list[Row]:
    """Stable Diffusion 1.5 on the processor or, with `--device cuda`, SDXL too."""
    cases = ON_GPU_AT_LENGTH if settings.device == "cuda" else AT_LENGTH
    return [*measure_cases(settings, cases), prepared(settings, cases[0])]
