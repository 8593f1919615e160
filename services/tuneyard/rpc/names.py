"""Resource names: "jobs/{id}", "datasets/{id}", "models/{id}" and "jobs/{id}/artifacts/{path}"."""

import re
from typing import Final

from tuneyard.rpc.errors import invalid

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def job_name(job_id: str) -> str:
    return f"jobs/{job_id}"


def dataset_name(dataset_id: str) -> str:
    return f"datasets/{dataset_id}"


def model_name(model_id: str) -> str:
    return f"models/{model_id}"


def artifact_name(job_id: str, path: str) -> str:
    return f"jobs/{job_id}/artifacts/{path}"


def job_id(name: str, *, field: str = "name") -> str:
    """The id in "jobs/{id}"; INVALID_FIELD about `field` for anything else. The same holds below."""
    return _parse(name, "jobs", field)


def dataset_id(name: str, *, field: str = "name") -> str:
    return _parse(name, "datasets", field)


def model_id(name: str, *, field: str = "name") -> str:
    return _parse(name, "models", field)


def artifact_path(name: str, *, field: str = "name") -> tuple[str, str]:
    """The job's id and the path in "jobs/{id}/artifacts/{path}"; the path of "jobs/{id}/artifacts" is ""."""
    parent, _, path = name.partition("/artifacts")
    if "/artifacts" not in name or (path and not path.startswith("/")):
        raise invalid(field, 'must look like "jobs/{job}/artifacts/{path}"')
    return _parse(parent, "jobs", field), path.removeprefix("/")


def _parse(name: str, collection: str, field: str) -> str:
    prefix, _, identifier = name.partition("/")
    if prefix != collection or not _ID.fullmatch(identifier):
        raise invalid(field, f'must look like "{collection}/{{{collection[:-1]}}}"')
    return identifier
