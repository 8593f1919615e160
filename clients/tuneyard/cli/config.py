"""What `up` and `doctor` take from the environment. The other commands know the client's settings alone."""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_data_path


def service_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What services inherit. Without compiled files every start would compile the libraries again."""
    inherited = dict(environment)
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return inherited


def data_folder(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The data folder: as given, else TUNEYARD_DATA_DIR, else the user's."""
    chosen = given or environment.get("TUNEYARD_DATA_DIR") or user_data_path("tuneyard", appauthor=False)
    return Path(chosen).expanduser().absolute()


def store_url(given: str, data: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The store: as given, else TUNEYARD_STORE, else a folder in the data folder."""
    return given or environment.get("TUNEYARD_STORE") or (data / "store").as_uri()


def database_url(given: str, data: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The database: as given, else TUNEYARD_DATABASE, else a file in the data folder."""
    return given or environment.get("TUNEYARD_DATABASE") or f"sqlite:///{data / 'tuneyard.db'}"


def s3_endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """TUNEYARD_S3_ENDPOINT, HOST:PORT of an S3 store."""
    return environment.get("TUNEYARD_S3_ENDPOINT", "")
