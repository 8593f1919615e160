import re
from datetime import timedelta
from pathlib import Path

import pytest

from tuneyard.trainer.config import ConfigError, TrainerConfig, load_config


def test_every_family_listens_on_a_port_of_its_own_by_default() -> None:
    ports = {load_config(family, {}).listen for family in ("vision", "diffusion", "llm")}
    assert ports == {"127.0.0.1:50061", "127.0.0.1:50062", "127.0.0.1:50063"}


def test_settings_come_from_their_variables() -> None:
    config = load_config(
        "vision",
        {
            "TUNEYARD_TRAINER_LISTEN": "0.0.0.0:1",
            "TUNEYARD_TRAINER_DATA_DIR": "/data",
            "TUNEYARD_DEVICES": "cpu,cpu",
            "TUNEYARD_CACHE_LIMIT_BYTES": "1000",
            "TUNEYARD_STORE": "s3://bucket",
            "TUNEYARD_S3_SECURE": "false",
            "TUNEYARD_LOG_FORMAT": "json",
            "TUNEYARD_SILENCE_LIMIT_SECONDS": "0",
        },
    )
    assert (config.listen, config.data_dir, config.devices) == ("0.0.0.0:1", Path("/data"), "cpu,cpu")
    assert (config.cache_limit_bytes, config.store_url, config.store.s3_secure) == (
        1000,
        "s3://bucket",
        False,
    )
    assert config.log_format == "json"
    assert (config.silence_warning, config.silence_limit) == (timedelta(minutes=30), timedelta(0))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TUNEYARD_CACHE_LIMIT_BYTES", "50 GB"),
        ("TUNEYARD_LOG_FORMAT", "xml"),
        ("TUNEYARD_LOG_LEVEL", "loud"),
        ("TUNEYARD_S3_SECURE", "maybe"),
        ("TUNEYARD_TEST_FAULTS", "crash@step=5"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load_config("vision", {variable: value})


def test_faults_are_allowed_where_tests_say_so() -> None:
    environment = {"TUNEYARD_TESTING": "1", "TUNEYARD_TEST_FAULTS": "crash@step=5"}
    assert load_config("vision", environment).faults == "crash@step=5"


def test_secrets_are_neither_shown_nor_inherited_by_workers() -> None:
    secrets = {"TUNEYARD_TOKEN": "s1cret", "TUNEYARD_S3_SECRET_KEY": "s2cret"}
    config = load_config("vision", {**secrets, "PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"})
    assert config.worker_environment == {"PATH": "/bin"}
    assert "s1cret" not in repr(config) and "s2cret" not in repr(config)


def test_a_trainer_finds_the_store_of_a_gateway_with_the_same_environment() -> None:
    config = load_config("vision", {"TUNEYARD_DATA_DIR": "/data"})
    assert (config.store_url, config.data_dir) == ("file:///data/store", Path("/data/trainers/vision"))


def test_every_variable_is_documented() -> None:
    root = Path(__file__).parents[2]
    source = (root / "services" / "tuneyard" / "trainer" / "config.py").read_text()
    documented = (root / "docs" / "settings.md").read_text()
    variables = set(re.findall(r'"(TUNEYARD_[A-Z_0-9]+)"', source))
    assert len(variables) > 10
    assert {variable for variable in variables if f"`{variable}`" not in documented} == set()


def test_every_setting_says_what_it_is() -> None:
    source = Path(__file__).parents[2] / "services" / "tuneyard" / "trainer" / "config.py"
    lines = source.read_text().splitlines()
    for field in TrainerConfig.__dataclass_fields__:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {field}:"))
        assert lines[at + 1].startswith('    """'), field
