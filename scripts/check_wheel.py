"""Fails where a wheel lacks what a user of it would miss: `scripts/check_wheel.py dist/tuneyard-….whl`."""

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "tuneyard/web/static/index.html",
    "tuneyard/web/static/assets/",
    "tuneyard/web/openapi.json",
    "tuneyard/web/guide_text/training-guide.md",
    "tuneyard/web/guide_text/training-guide.zh.md",
    "tuneyard/gateway/migrations/versions/",
    "tuneyard/v1/training_pb2.py",
    "tuneyard/cli/field_help.json",
)
"""Files; what ends with a slash is a folder that holds some."""


def missing(wheel: Path) -> list[str]:
    """What of `NEEDED` is not in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return [
        wanted
        for wanted in NEEDED
        if not any(name.startswith(wanted) if wanted.endswith("/") else name == wanted for name in names)
    ]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if lacking := missing(Path(argument)):
            raise SystemExit(f"{argument} lacks {', '.join(lacking)}")
        print(f"{argument}: complete")
