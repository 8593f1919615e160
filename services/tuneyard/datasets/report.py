"""What a check of a dataset says: findings, counts, classes and splits, as frozen values with one JSON form.

Nothing here looks at files.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tuneyard.datasets.codes import ADVICE, Code, Severity

MAX_LISTED_PER_CODE = 1000


@dataclass(frozen=True)
class Finding:
    """One thing noticed about a file (`path`; `line` from 1 in text files) or about the whole dataset."""

    code: Code
    severity: Severity
    path: str | None
    line: int | None
    message: str
    remedy: str
    figures: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the message tells of this case, by name; empty for codes whose figures have none."""

    @classmethod
    def of(
        cls,
        code: Code,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        figures: Mapping[str, object] | None = None,
    ) -> Self:
        """A finding with the severity and the remedy that belong to its code."""
        advice = ADVICE[code]
        return cls(
            code=code,
            severity=advice.severity,
            path=path,
            line=line,
            message=message,
            remedy=advice.remedy,
            figures={name: str(value) for name, value in (figures or {}).items()},
        )


@dataclass(frozen=True)
class SplitSummary:
    """The usable samples of one split; `per_class` has every class, also one without samples."""

    samples: int
    per_class: Mapping[str, int]
    """In datasets of boxes: the images that show an object of the class."""
    boxes_per_class: Mapping[str, int] = field(default_factory=dict)
    """In datasets of boxes: the objects of the class; empty in others."""


@dataclass(frozen=True)
class Report:
    """The result of a check; it is stored with the dataset as its validation report.

    At most `MAX_LISTED_PER_CODE` findings of a code are listed; `counts` has how many there are of each.
    """

    format: str
    findings: tuple[Finding, ...] = ()
    """Errors first."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often each code was found, listed or not."""
    classes: tuple[str, ...] = ()
    """The names of the classes in the order of their numbers."""
    splits: Mapping[str, SplitSummary] = field(default_factory=dict)
    """By "train", "val" and "test", the splits that the dataset brings; without any, all is "train"."""
    excluded: tuple[str, ...] = ()
    """Files that cannot be read and that training leaves out, relative to the dataset's root."""
    samples: int = 0
    """Usable samples in all."""
    median_width: int = 0
    """Of the usable images, in pixels; 0 without any."""
    median_height: int = 0
    sides: Mapping[int, int] = field(default_factory=dict)
    """How many usable images have a longer side up to so many pixels, by powers of two."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Numbers about the files: "total", "images", "broken", "duplicates", "ignored" (junk)."""
    groups: tuple[int, ...] = ()
    """For each usable sample, in the order of their paths, the number of the group that a split keeps
    together: copies and near copies of one picture. Empty where each is by itself."""
    paths: Mapping[Code, Collection[str]] = field(default_factory=dict, compare=False, repr=False)
    """By code, the files of all its findings, listed or not. Known to the check only: it is in no JSON."""

    @classmethod
    def of_failure(cls, format: str, finding: Finding) -> Self:
        """The report about a dataset that could not be looked into at all."""
        return cls(format=format, findings=(finding,), counts={finding.code.value: 1})

    @property
    def has_errors(self) -> bool:
        """Whether the dataset cannot be trained on."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "format": self.format,
            "findings": [_finding_to(finding) for finding in self.findings],
            "counts": dict(self.counts),
            "classes": list(self.classes),
            "splits": {
                name: {
                    "samples": split.samples,
                    "per_class": dict(split.per_class),
                    **({"boxes_per_class": dict(split.boxes_per_class)} if split.boxes_per_class else {}),
                }
                for name, split in self.splits.items()
            },
            "excluded": list(self.excluded),
            "samples": self.samples,
            "median_width": self.median_width,
            "median_height": self.median_height,
            "sides": {str(side): images for side, images in self.sides.items()},
            "files": dict(self.files),
            "groups": list(self.groups),
        }

    def to_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The report that `to_dict` describes; raises KeyError or ValueError for anything else."""
        return cls(
            format=value["format"],
            findings=tuple(_finding_from(item) for item in value["findings"]),
            counts=dict(value["counts"]),
            classes=tuple(value["classes"]),
            splits={
                name: SplitSummary(
                    samples=split["samples"],
                    per_class=dict(split["per_class"]),
                    boxes_per_class=dict(split.get("boxes_per_class", {})),
                )
                for name, split in value["splits"].items()
            },
            excluded=tuple(value["excluded"]),
            samples=value["samples"],
            median_width=value["median_width"],
            median_height=value["median_height"],
            sides={int(side): images for side, images in value.get("sides", {}).items()},
            files=dict(value["files"]),
            groups=tuple(value["groups"]),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that `to_json` wrote."""
        return cls.from_dict(json.loads(text))


def _finding_to(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in asdict(finding).items() if name != "figures" or value}


def _finding_from(value: Mapping[str, Any]) -> Finding:
    return Finding(
        code=Code(value["code"]),
        severity=Severity(value["severity"]),
        path=value["path"],
        line=value["line"],
        message=value["message"],
        remedy=value["remedy"],
        figures=dict(value.get("figures", {})),
    )


class FindingLog:
    """Collects findings while a check runs: lists so many of each code, counts them all."""

    def __init__(self, *, max_listed_per_code: int = MAX_LISTED_PER_CODE) -> None:
        self._max_listed_per_code = max_listed_per_code
        self._listed: list[Finding] = []
        self._totals: Counter[Code] = Counter()
        self._paths: dict[Code, dict[str, None]] = {}

    def add(
        self,
        code: Code,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        figures: Mapping[str, object] | None = None,
    ) -> None:
        """Notes one finding."""
        self._totals[code] += 1
        if path is not None:
            self._paths.setdefault(code, {})[path] = None
        if self._totals[code] <= self._max_listed_per_code:
            self._listed.append(Finding.of(code, message, path=path, line=line, figures=figures))

    def findings(self) -> tuple[Finding, ...]:
        """The listed findings: errors first, then in the order of the codes and the paths."""
        severities, codes = list(Severity), list(Code)
        return tuple(
            sorted(
                self._listed,
                key=lambda f: (severities.index(f.severity), codes.index(f.code), f.path or "", f.line or 0),
            )
        )

    def counts(self) -> dict[str, int]:
        """How many findings there were of each code, listed or not."""
        return {code.value: self._totals[code] for code in Code if self._totals[code]}

    def paths(self) -> dict[Code, Collection[str]]:
        """By code, the files of all findings, listed or not."""
        return {code: found.keys() for code, found in self._paths.items()}
