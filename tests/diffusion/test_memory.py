import re
from dataclasses import replace
from pathlib import Path

import pytest

from tuneyard.diffusion.catalogue import find
from tuneyard.diffusion.known_facts import SD_1_5, SDXL
from tuneyard.diffusion.memory import ATTENTION, Workload, adapter_parameters, is_chosen

DOCS = Path(__file__).parents[2] / "docs" / "memory.md"
_ROW = re.compile(r"\| `(stable-diffusion[\w.-]+)` \| (\d+) px \| ([\d.]+) \| ([\d.]+) \|")


def work(facts=SD_1_5, **changes) -> Workload:
    adapters = adapter_parameters(facts.linears, rank=16, targets=ATTENTION)
    made = Workload(facts=facts, adapters=adapters, batch_size=1, resolution=512)
    return replace(made, **changes)


def test_the_documented_table_is_what_the_formula_says() -> None:
    rows = _ROW.findall(DOCS.read_text(encoding="utf-8"))
    assert len(rows) == 6
    for name, side, plain, checkpointed in rows:
        known = find(name)
        assert known
        for told, checkpointing in ((plain, False), (checkpointed, True)):
            found = work(known.facts, resolution=int(side), checkpointing=checkpointing)
            assert f"{found.device_bytes() / 1e9:.1f}" == told, (name, side)


def test_adapters_are_counted_as_published_ones() -> None:
    assert work().adapters == 3_188_736
    assert work(SDXL).adapters == 23_224_320


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 2},
        {"half_precision": False},
        {"cached": False},
        {"cached_texts": False},
        {"resolution": 1024},
        {"text_adapters": 10**6},
    ],
)
def test_what_needs_more_is_predicted_to(change) -> None:
    small = work(SDXL, resolution=768)
    assert replace(small, **change).device_bytes() > small.device_bytes()


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    limit, wanted = 12 << 30, work()
    most = wanted.largest_batch_size(limit, on_cpu=False)
    assert replace(wanted, batch_size=most).device_bytes() <= limit
    assert replace(wanted, batch_size=most + 1).device_bytes() > limit
    assert wanted.largest_batch_size(1 << 30, on_cpu=False) == 0


def test_targets_are_names_or_ends_of_names() -> None:
    assert is_chosen("to_q", ("attn1.to_q",)) and is_chosen("to_q", ("all-linear",))
    assert not is_chosen("to_q", ("to_k",)) and not is_chosen("time_emb_proj", ("all-linear",))
