"""Whether the classes of a dataset are large enough and balanced, and its validation split of a useful size.

For every format whose samples belong to classes; it looks at numbers only.
"""

from collections.abc import Mapping

from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog, SplitSummary
from tuneyard.datasets.words import counted

MIN_SAMPLES_PER_CLASS = 100
MAX_IMBALANCE = 5
VAL_SHARE = (0.10, 0.20)


def note_class_sizes(log: FindingLog, splits: Mapping[str, SplitSummary]) -> None:
    """Adds findings about small classes, imbalance, and the share of validation samples."""
    train = splits["train"]
    filled = {name: count for name, count in train.per_class.items() if count}
    for name, count in filled.items():
        if count < MIN_SAMPLES_PER_CLASS:
            samples = counted(count, "training sample")
            seen = f"Class {name!r} has {samples}, fewer than {MIN_SAMPLES_PER_CLASS}."
            figures = {"class": name, "samples": count, "least": MIN_SAMPLES_PER_CLASS}
            log.add(Code.CLASS_SMALL, seen, figures=figures)
    if filled:
        smallest, largest = min(filled, key=filled.__getitem__), max(filled, key=filled.__getitem__)
        if filled[largest] > MAX_IMBALANCE * filled[smallest]:
            seen = (
                f"Class {largest!r} has {filled[largest]} training samples, {smallest!r} {filled[smallest]}:"
                f" more than {MAX_IMBALANCE} to 1."
            )
            log.add(Code.CLASS_IMBALANCE, seen, figures=imbalance(filled, smallest, largest))
    note_val_share(log, splits)


def imbalance(counts: Mapping[str, int], smallest: str, largest: str) -> dict[str, object]:
    """The figures of a finding about classes of unequal size."""
    return {
        "largest": largest,
        "most": counts[largest],
        "smallest": smallest,
        "least": counts[smallest],
        "ratio": MAX_IMBALANCE,
    }


def note_val_share(log: FindingLog, splits: Mapping[str, SplitSummary]) -> None:
    """Adds a finding where a dataset's own validation split is unusually small or large."""
    train = splits["train"]
    val = splits.get("val")
    if val is not None and val.samples and train.samples:
        share = val.samples / (train.samples + val.samples)
        # Rounded to whole per cent, since no split of a small dataset hits the bounds exactly.
        if not VAL_SHARE[0] <= round(share, 2) <= VAL_SHARE[1]:
            seen = f"{val.samples} of {train.samples + val.samples} samples ({share:.1%}) are for validation."
            figures = {
                "samples": val.samples,
                "total": train.samples + val.samples,
                "share": f"{share:.1%}",
            }
            log.add(Code.SPLIT_SHARE_UNUSUAL, seen, figures=figures)
