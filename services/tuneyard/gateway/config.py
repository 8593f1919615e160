"""The gateway's settings, read from the environment once.

`python -m tuneyard.gateway.config` prints them as Markdown.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from platformdirs import user_data_path

from tuneyard.gateway.kinds import FAMILIES, family_name
from tuneyard.gateway.trainers import TrainerAddress
from tuneyard.rpc.log import LogFormat
from tuneyard.storage import StoreSettings

_FAMILIES: Final = {family_name(family): family for family in FAMILIES.values()}


class ConfigError(SystemExit):
    """A setting cannot be; the message names its variable, and is all that the program ends with."""


@dataclass(frozen=True)
class Setting:
    """How one field is set, and why its default is what it is."""

    variable: str
    form: str
    """What the value looks like, with its unit."""
    default: str
    """In words."""
    reason: str
    parse: Callable[[str], Any]


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text.lower()

    return parse


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=_whole(text))


def _boolean(text: str) -> bool:
    return _choice("true", "1", "false", "0")(text) in ("true", "1")


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(_folder(part) for part in text.split(os.pathsep) if part.strip())


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must look like HOST:PORT")
    return text


def _trainers(text: str) -> tuple[TrainerAddress, ...]:
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        family, _, target = entry.partition("=")
        if family.strip() not in _FAMILIES:
            raise ValueError(f"must be FAMILY=HOST:PORT, with a family of {', '.join(_FAMILIES)}")
        found.append(TrainerAddress(_FAMILIES[family.strip()], _address(target.strip())))
    return tuple(found)


def _setting(
    variable: str,
    form: str,
    *,
    reason: str,
    default: Any,
    told: str = "",
    parse: Callable[[str], Any] = str,
    secret: bool = False,
) -> Any:
    """A field that is read from a variable; `told` is its default in words, where the value is not enough."""
    about = Setting(variable, form, told or f"`{default}`", reason, parse)
    return field(default=default, metadata={"setting": about}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Everything that a gateway is told from outside."""

    listen: str = _setting(
        "TUNEYARD_LISTEN",
        "HOST:PORT",
        default="127.0.0.1:50051",
        parse=_address,
        reason="Only this machine: an open listener needs a token.",
    )
    data_dir: Path = _setting(  # noqa: RUF009 - a field
        "TUNEYARD_DATA_DIR",
        "folder",
        default=Path(),
        told="the user's data folder for `tuneyard`",
        parse=_folder,
        reason="A restart finds what was stored.",
    )
    database: str = _setting(
        "TUNEYARD_DATABASE",
        "`sqlite:///PATH` or `postgresql://…`",
        default="",
        told="`tuneyard.db` in the data folder",
        reason="One machine needs no database server; several gateways need PostgreSQL.",
    )
    store: str = _setting(
        "TUNEYARD_STORE",
        "`file:///FOLDER` or `s3://BUCKET/PREFIX`",
        default="",
        told="`store` in the data folder",
        reason="One machine needs no object store; trainers on other machines need S3.",
    )
    trainers: tuple[TrainerAddress, ...] = _setting(
        "TUNEYARD_TRAINERS",
        "`FAMILY=HOST:PORT`, several divided by commas",
        default=(),
        told="none",
        parse=_trainers,
        reason="`tuneyard up` sets it to the trainers that it starts.",
    )
    blob_listen: str = _setting(
        "TUNEYARD_BLOB_LISTEN",
        "HOST:PORT",
        default="127.0.0.1:50052",
        parse=_address,
        reason="With a folder store, signed URLs are served here, to this machine only.",
    )
    blob_url: str = _setting(
        "TUNEYARD_BLOB_URL",
        "URL",
        default="",
        told="`http://` and the blob listener's address",
        reason="Signed URLs begin with it; set it where clients reach that listener by another address.",
    )
    token: str = _setting(
        "TUNEYARD_TOKEN",
        "text",
        default="",
        told="none",
        secret=True,
        reason="On loopback every caller is the user; any other listener refuses to start without it.",
    )
    import_roots: tuple[Path, ...] = _setting(
        "TUNEYARD_IMPORT_ROOTS",
        f"folders divided by `{os.pathsep}`",
        default=(),
        told="none",
        parse=_folders,
        reason="Callers name paths of this machine only below folders that were opened to them.",
    )
    log_format: LogFormat = _setting(  # noqa: RUF009 - a field
        "TUNEYARD_LOG_FORMAT",
        "`console` or `json`",
        default="console",
        parse=_choice("console", "json"),
        reason="Lines for people, unless a machine collects them.",
    )
    log_level: str = _setting(
        "TUNEYARD_LOG_LEVEL",
        "`debug`, `info`, `warning` or `error`",
        default="info",
        parse=_choice("debug", "info", "warning", "error"),
        reason="One line per change of a job's state.",
    )
    s3_endpoint: str = _setting(
        "TUNEYARD_S3_ENDPOINT",
        "HOST:PORT",
        default="",
        told="none",
        reason="Needed with an `s3://` store.",
    )
    s3_access_key: str = _setting(
        "TUNEYARD_S3_ACCESS_KEY", "text", default="", told="none", secret=True, reason="As the server says."
    )
    s3_secret_key: str = _setting(
        "TUNEYARD_S3_SECRET_KEY", "text", default="", told="none", secret=True, reason="As the server says."
    )
    s3_region: str = _setting(
        "TUNEYARD_S3_REGION", "text", default="us-east-1", reason="What servers without regions expect."
    )
    s3_secure: bool = _setting(
        "TUNEYARD_S3_SECURE",
        "`true` or `false`",
        default=True,
        told="`true`",
        parse=_boolean,
        reason="Credentials do not travel in the clear unless told to.",
    )
    trainer_lease: timedelta = _setting(
        "TUNEYARD_TRAINER_LEASE_SECONDS",
        "seconds",
        default=timedelta(seconds=15),
        told="`15`",
        parse=_seconds,
        reason="Longer than a trainer's restart, short enough that a lost machine's jobs soon run elsewhere.",
    )
    max_lost_attempts: int = _setting(
        "TUNEYARD_MAX_LOST_ATTEMPTS",
        "attempts",
        default=3,
        parse=_whole,
        reason="A job that crashes as often without a new checkpoint would crash for ever.",
    )
    validation_processes: int = _setting(
        "TUNEYARD_VALIDATION_PROCESSES",
        "processes",
        default=2,
        parse=_whole,
        reason="A large dataset does not hold up a small one, and cores are left for training.",
    )
    validation_memory_bytes: int = _setting(
        "TUNEYARD_VALIDATION_MEMORY_BYTES",
        "bytes of address space",
        default=4 * 1024**3,
        told="`4294967296`",
        parse=_whole,
        reason="Many times what honest datasets need; a hostile one hits it before the machine suffers.",
    )
    validation_time: timedelta = _setting(
        "TUNEYARD_VALIDATION_SECONDS",
        "seconds",
        default=timedelta(hours=2),
        told="`7200`",
        parse=_seconds,
        reason="Wall time: millions of images pass within it, a check that hangs does not.",
    )

    @property
    def store_settings(self) -> StoreSettings:
        """What the store needs beside its URL."""
        return StoreSettings(
            public_url=self.blob_url or f"http://{self.blob_listen}",
            s3_endpoint=self.s3_endpoint,
            s3_access_key=self.s3_access_key,
            s3_secret_key=self.s3_secret_key,
            s3_region=self.s3_region,
            s3_secure=self.s3_secure,
        )


def load_config(environment: Mapping[str, str] = os.environ) -> GatewayConfig:
    """The settings of an environment. An empty variable is as good as none. Raises ConfigError."""
    given: dict[str, Any] = {}
    for name, setting in settings():
        text = environment.get(setting.variable, "").strip()
        if not text:
            continue
        try:
            given[name] = setting.parse(text)
        except ValueError as error:
            raise ConfigError(f"{setting.variable} is {text!r}: it {error}") from None
    data_dir = cast(Path, given.setdefault("data_dir", user_data_path("tuneyard", appauthor=False)))
    given.setdefault("database", f"sqlite:///{data_dir / 'tuneyard.db'}")
    given.setdefault("store", (data_dir / "store").as_uri())
    return GatewayConfig(**given)


def settings() -> list[tuple[str, Setting]]:
    """Every field with how it is set; the proof that each field is a setting is that none is missing."""
    found = [(each.name, each.metadata.get("setting", MISSING)) for each in fields(GatewayConfig)]
    return [(name, cast(Setting, setting)) for name, setting in found]


def markdown() -> str:
    """A table of all settings."""
    head = "| variable | value | default | why |\n|---|---|---|---|\n"
    rows = (
        f"| `{setting.variable}` | {setting.form} | {setting.default} | {setting.reason} |\n"
        for _, setting in settings()
    )
    return head + "".join(rows)


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
