"""The gateway's settings: how they are read, and that each is documented."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from tuneyard.gateway.config import ConfigError, GatewayConfig, load_config, markdown, settings
from tuneyard.v1 import training_pb2

ROOT = Path(__file__).parents[2]


def test_without_an_environment_everything_stays_on_this_machine() -> None:
    config = load_config({})
    assert config.listen == "127.0.0.1:50051"
    assert config.database == f"sqlite:///{config.data_dir / 'tuneyard.db'}"
    assert config.store == (config.data_dir / "store").as_uri()
    assert (config.trainers, config.import_roots, config.token) == ((), (), "")


def test_variables_are_parsed(tmp_path: Path) -> None:
    config = load_config(
        {
            "TUNEYARD_DATA_DIR": str(tmp_path),
            "TUNEYARD_TRAINERS": "vision=127.0.0.1:1, llm=gpu2:2",
            "TUNEYARD_IMPORT_ROOTS": os.pathsep.join(["/data", "/more"]),
            "TUNEYARD_S3_SECURE": "false",
            "TUNEYARD_TRAINER_LEASE_SECONDS": "3",
        }
    )
    assert [(each.family, each.target) for each in config.trainers] == [
        (training_pb2.FAMILY_VISION, "127.0.0.1:1"),
        (training_pb2.FAMILY_LLM, "gpu2:2"),
    ]
    assert config.import_roots == (Path("/data"), Path("/more"))
    assert (config.s3_secure, config.trainer_lease) == (False, timedelta(seconds=3))
    assert config.database.startswith(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TUNEYARD_LISTEN", "50051"),
        ("TUNEYARD_TRAINERS", "audio=127.0.0.1:1"),
        ("TUNEYARD_TRAINERS", "vision"),
        ("TUNEYARD_LOG_FORMAT", "xml"),
        ("TUNEYARD_MAX_LOST_ATTEMPTS", "0"),
        ("TUNEYARD_S3_SECURE", "perhaps"),
    ],
)
def test_a_wrong_value_ends_the_program_with_its_variable(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load_config({variable: text})


def test_secrets_do_not_show() -> None:
    config = load_config({"TUNEYARD_TOKEN": "hush", "TUNEYARD_S3_SECRET_KEY": "hush"})
    assert "hush" not in repr(config)


def test_every_field_is_a_setting_with_a_reason() -> None:
    found = settings()
    assert [name for name, _ in found] == list(GatewayConfig.__dataclass_fields__)
    assert all(setting.reason and setting.form and setting.default for _, setting in found)


def test_the_documentation_has_the_table_of_this_release() -> None:
    told = (ROOT / "docs" / "settings.md").read_text()
    assert markdown() in told, "write `python -m tuneyard.gateway.config` into docs/settings.md"


def test_every_variable_of_the_services_is_documented() -> None:
    told = (ROOT / "docs" / "settings.md").read_text()
    sources = (ROOT / "services" / "tuneyard").glob("*/config.py")
    used = {name for path in sources for name in re.findall(r"TUNEYARD_[A-Z0-9_]+", path.read_text())}
    assert {name for name in used if f"`{name}`" not in told} == set()
