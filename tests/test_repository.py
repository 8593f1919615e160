"""What holds for the repository as a whole: the namespace package, and the lock."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("root", ["services", "clients", "protos/gen"])
def test_no_source_root_hides_the_others_behind_an_init_file(root: str) -> None:
    assert (ROOT / root / "tuneyard").is_dir()
    assert not (ROOT / root / "tuneyard" / "__init__.py").exists()


def test_no_package_is_in_two_source_roots() -> None:
    roots = [ROOT / root / "tuneyard" for root in ("services", "clients", "protos/gen")]
    names = [path.parent.name for root in roots for path in root.glob("*/__init__.py")]
    assert len(names) == len(set(names))


def test_the_lock_is_hashed_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert pins
    assert all(line.endswith("\\") for line in pins)  # the hashes follow


def test_the_base_and_gateway_extras_install_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    light = [*project["dependencies"], *extras["gateway"], *extras["web"], *extras["trainer"]]
    assert not [
        line for line in light if line.startswith(("torch", "transformers", "diffusers", "tuneyard["))
    ]


def test_ultralytics_is_asked_for_by_name_only() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name, lines in extras.items() if any("ultralytics" in line for line in lines)] == [
        "detector"
    ]
    assert "detector" not in " ".join(extras["all"])
