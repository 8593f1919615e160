"""Writes clients/tuneyard/cli/field_help.json: the spec's comments, which compiled protos do not keep.

Run it after a comment in training.proto changed; a test says when that was forgotten.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "protos" / "tuneyard" / "v1" / "training.proto"
TARGET = ROOT / "clients" / "tuneyard" / "cli" / "field_help.json"

_MESSAGE = re.compile(r"message (\w+) {")
_FIELD = re.compile(r"\s+(?:optional |repeated )?[\w.<>, ]+ (\w+) = \d+")


def field_help(proto: str) -> dict[str, str]:
    """From "Message.field" to the field's comment, on one line."""
    found: dict[str, str] = {}
    message, comment = "", []
    for line in proto.splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("//").strip())
            continue
        if match := _MESSAGE.match(line):
            message = match[1]
        elif comment and message and (match := _FIELD.match(line)):
            found[f"{message}.{match[1]}"] = " ".join(comment)
        comment = []
    return found


def source(proto: str) -> str:
    """The file's text."""
    return json.dumps(field_help(proto), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(source(PROTO.read_text()))
