"""Shows what was found in a dataset: each kind once, with the places and one remedy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from tuneyard.cli.formats import plain
from tuneyard.datasets.words import counted

_MOST_PLACES: Final = 10
_STYLES: Final = {"ERROR": "bold red", "WARNING": "yellow", "INFO": "dim"}


@dataclass(frozen=True)
class Shown:
    """One finding, from a server's report or from a check of our own."""

    severity: str
    code: str
    path: str
    line: int
    message: str
    remedy: str

    @property
    def text(self) -> str:
        """The message behind its place, unless it names the place itself."""
        if not self.path or (not self.line and self.path in self.message):
            return self.message
        return f"{self.path}{f':{self.line}' if self.line else ''}: {self.message}"


def print_findings(console: Console, findings: Iterable[Shown], *, counts: Mapping[str, int]) -> None:
    """Prints findings in their order, those of one kind together; `counts` has those not listed as well."""
    kinds: dict[tuple[str, str], list[Shown]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity, finding.code), []).append(finding)
    for (severity, code), found in kinds.items():
        total = max(counts.get(code, 0), len(found))
        style = _STYLES.get(severity, "default")
        if total == 1:
            console.print(f"[{style}]{severity}[/] {plain(found[0].text)} [dim]{plain(code)}[/]")
        else:
            console.print(f"[{style}]{severity}[/] {plain(code)}, {counted(total, 'time')}")
            for each in found[:_MOST_PLACES]:
                console.print(f"  {plain(each.text)}")
            if total > _MOST_PLACES:
                console.print(f"  … and {total - _MOST_PLACES} more; --json lists them")
        for remedy in dict.fromkeys(each.remedy for each in found if each.remedy):
            console.print(f"  → {plain(remedy)}")
