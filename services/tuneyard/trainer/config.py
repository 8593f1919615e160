"""A trainer's settings, read from the environment once. Nothing else in the trainer reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast, get_args

from platformdirs import user_data_path

from tuneyard.rpc.log import LogFormat
from tuneyard.storage import StoreSettings

DEFAULT_LISTEN = {
    "vision": "127.0.0.1:50061",
    "diffusion": "127.0.0.1:50062",
    "llm": "127.0.0.1:50063",
}

_SECRETS = ("TUNEYARD_TOKEN", "TUNEYARD_S3_ACCESS_KEY", "TUNEYARD_S3_SECRET_KEY")
_TRUE, _FALSE = ("true", "1"), ("false", "0")
_LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(SystemExit):
    """A setting cannot be; the message names its variable, and is all that the program ends with."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Everything that a trainer is told from outside."""

    family: str
    """"vision", "diffusion" or "llm": the program that was started."""
    listen: str
    """TUNEYARD_TRAINER_LISTEN, HOST:PORT. Default: a port of its own per family, on this machine only."""
    data_dir: Path
    """TUNEYARD_TRAINER_DATA_DIR. Journals, cache and the trainer's id. Default: below TUNEYARD_DATA_DIR or
    the user's data folder, so that a restart finds them."""
    devices: str = "auto"
    """TUNEYARD_DEVICES: "auto", "cpu" or "cuda:0,cuda:1"; a device named twice runs two jobs at once.
    Default: every accelerator that the driver lists, else the processor."""
    cpu_slots: int = 1
    """TUNEYARD_CPU_SLOTS. Merges and exports at a time, beside the devices. Default 1: each may fill the
    memory."""
    cache_limit_bytes: int = 50 << 30
    """TUNEYARD_CACHE_LIMIT_BYTES. Above it the entries unused for longest are removed; 0 means never.
    Default 50 GiB: several image datasets."""
    silence_warning: timedelta = timedelta(minutes=30)
    """TUNEYARD_SILENCE_WARNING_SECONDS. A run that reports nothing for so long gets a warning; 0 means never.
    Default 1800: no step takes so long, and few evaluations do."""
    silence_limit: timedelta = timedelta(hours=6)
    """TUNEYARD_SILENCE_LIMIT_SECONDS. A run whose journal has not grown for so long hangs: it is killed, and
    goes on from its newest checkpoint in another attempt; 0 means never. Default 21600: much longer than the
    evaluation of a million images, and a night is not lost."""
    inference_idle: timedelta = timedelta(minutes=5)
    """TUNEYARD_INFERENCE_IDLE_SECONDS. A model that nobody tries for so long is unloaded. Default 300: long
    enough to look at a picture and try the next one."""
    store_url: str = ""
    """TUNEYARD_STORE: s3://bucket/prefix, or file:///folder on the gateway's machine. Default: the folder
    that a gateway of the same environment uses."""
    store: StoreSettings = field(default_factory=StoreSettings, repr=False)
    """TUNEYARD_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _REGION, _SECURE."""
    offline: bool = False
    """TUNEYARD_OFFLINE. Fetch nothing from hubs: weights that are neither in the store nor on this machine
    are refused when a job is sent. Default false: they are fetched when a job needs them."""
    token: str = field(default="", repr=False)
    """TUNEYARD_TOKEN. What the gateway must show. Default: none, which only a loopback listener may have."""
    log_format: LogFormat = "console"
    """TUNEYARD_LOG_FORMAT: "console" for people, "json" for machines."""
    log_level: str = "info"
    """TUNEYARD_LOG_LEVEL: debug, info, warning or error."""
    faults: str = ""
    """TUNEYARD_TEST_FAULTS. Faults that workers inject into themselves; refused unless TUNEYARD_TESTING=1."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES, whose order "cuda:0" counts by."""
    worker_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What workers inherit: this environment without our secrets."""


def load_config(family: str, environment: Mapping[str, str] = os.environ) -> TrainerConfig:
    """The settings of a family's trainer. Raises ConfigError."""
    get = environment.get
    faults = get("TUNEYARD_TEST_FAULTS", "")
    if faults and get("TUNEYARD_TESTING") != "1":
        raise ConfigError("TUNEYARD_TEST_FAULTS breaks runs on purpose: it needs TUNEYARD_TESTING=1")
    data = (
        Path(get("TUNEYARD_DATA_DIR") or user_data_path("tuneyard", appauthor=False)).expanduser().absolute()
    )
    return TrainerConfig(
        family=family,
        listen=get("TUNEYARD_TRAINER_LISTEN") or DEFAULT_LISTEN.get(family, "127.0.0.1:0"),
        data_dir=Path(get("TUNEYARD_TRAINER_DATA_DIR") or data / "trainers" / family).expanduser(),
        devices=get("TUNEYARD_DEVICES") or "auto",
        cpu_slots=_count(environment, "TUNEYARD_CPU_SLOTS", TrainerConfig.cpu_slots),
        cache_limit_bytes=_count(environment, "TUNEYARD_CACHE_LIMIT_BYTES", TrainerConfig.cache_limit_bytes),
        silence_warning=timedelta(seconds=_count(environment, "TUNEYARD_SILENCE_WARNING_SECONDS", 1800)),
        silence_limit=timedelta(seconds=_count(environment, "TUNEYARD_SILENCE_LIMIT_SECONDS", 21600)),
        inference_idle=timedelta(seconds=_count(environment, "TUNEYARD_INFERENCE_IDLE_SECONDS", 300)),
        store_url=get("TUNEYARD_STORE") or (data / "store").as_uri(),
        store=StoreSettings(
            s3_endpoint=get("TUNEYARD_S3_ENDPOINT", ""),
            s3_access_key=get("TUNEYARD_S3_ACCESS_KEY", ""),
            s3_secret_key=get("TUNEYARD_S3_SECRET_KEY", ""),
            s3_region=get("TUNEYARD_S3_REGION") or StoreSettings.s3_region,
            s3_secure=_choice(environment, "TUNEYARD_S3_SECURE", _TRUE + _FALSE) in _TRUE,
        ),
        offline=_choice(environment, "TUNEYARD_OFFLINE", _FALSE + _TRUE) in _TRUE,
        token=get("TUNEYARD_TOKEN", ""),
        log_format=cast(LogFormat, _choice(environment, "TUNEYARD_LOG_FORMAT", get_args(LogFormat))),
        log_level=_choice(environment, "TUNEYARD_LOG_LEVEL", _LOG_LEVELS, default="info"),
        faults=faults,
        visible_devices=get("CUDA_VISIBLE_DEVICES"),
        worker_environment=_worker_environment(environment),
    )


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in environment.items() if name not in _SECRETS}
    # Without compiled files the libraries take several times as long to import, at each start.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    if environment.get("TUNEYARD_OFFLINE", "").lower() in _TRUE:
        inherited["HF_HUB_OFFLINE"] = "1"
    return inherited


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ConfigError(f"{name} is {text!r}; it must be a whole number")
    return int(text)


def _choice(
    environment: Mapping[str, str], name: str, choices: tuple[str, ...], *, default: str | None = None
) -> str:
    text = environment.get(name, "").lower() or default or choices[0]
    if text not in choices:
        raise ConfigError(f"{name} is {text!r}; it must be one of {', '.join(choices)}")
    return text
