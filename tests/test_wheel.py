"""The wheel: built from a copy of the checkout, with stand-ins for what `make ui` builds."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
UI = ("index.html", "assets/index-a.js")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a wheel is made of, without anything that was built here."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    left_out = shutil.ignore_patterns("__pycache__", "node_modules", "static", "webui")
    for folder in ("services", "clients", "protos", "docs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=left_out)
    return copy


def built(checkout: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True, timeout=60)
    [wheel] = (checkout / "dist").glob("*.whl")
    return wheel


def test_a_wheel_holds_the_built_web_ui_although_git_ignores_it(checkout: Path) -> None:
    for name in UI:
        path = checkout / "clients" / "tuneyard" / "web" / "static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("built")
    wheel = built(checkout)
    assert load_script("check_wheel").missing(wheel) == []
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"tuneyard/web/static/{name}" for name in UI} <= set(names)
    assert not [name for name in names if "webui" in name or name.endswith((".proto", ".go", ".ts"))]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"tuneyard"}


def test_a_wheel_without_the_web_ui_is_told_apart(checkout: Path) -> None:
    lacking = load_script("check_wheel").missing(built(checkout))
    assert lacking == ["tuneyard/web/static/index.html", "tuneyard/web/static/assets/"]
