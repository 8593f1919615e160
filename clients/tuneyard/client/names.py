"""Names of resources as callers write them, and the ids that make calls repeatable."""

import re
import uuid
from typing import Final

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def job(name: str) -> str:
    """ "jobs/{id}" for a job's name or its bare id. The same holds below."""
    return _full(name, "jobs")


def dataset(name: str) -> str:
    return _full(name, "datasets")


def model(name: str) -> str:
    return _full(name, "models")


def artifact(job_name: str, path: str) -> str:
    return f"{job(job_name)}/artifacts/{path}"


def new_request_id() -> str:
    """An id that no other request has."""
    return str(uuid.uuid4())


def is_id(word: str) -> bool:
    """Whether a dataset or model may have this id."""
    return bool(_ID.fullmatch(word))


def content_id(file_name: str, sha256: str) -> str:
    """A dataset's id from its file's name and content: the same file gets the same id."""
    return f"{id_after(file_name) or 'dataset'}-{sha256[:12]}"


def id_after(file_name: str) -> str:
    """An id after a file's name: "My-pictures" of "My pictures.zip"; "" where none fits."""
    return _NOT_IN_IDS.sub("-", stem(file_name)).strip("-._")[:60]


def stem(file_name: str) -> str:
    """A file's name without its suffixes: "tickets" of "tickets.jsonl.gz"."""
    return file_name.split(".", maxsplit=1)[0]


def _full(name: str, collection: str) -> str:
    return name if "/" in name else f"{collection}/{name}"
